"""How the scores of a local method for the samples of a player become one value."""

AGGREGATES = ("sum", "mean", "max")
