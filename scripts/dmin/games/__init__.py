"""Games of contributors: who made a model what it is."""
