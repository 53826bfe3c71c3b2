"""Size and cost of a config before anything runs, from models without weights."""
