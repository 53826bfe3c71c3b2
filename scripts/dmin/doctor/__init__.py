"""What a config would run into, told at once and within a minute, before anything runs."""
