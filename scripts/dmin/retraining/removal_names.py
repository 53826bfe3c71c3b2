"""Names of the removals that no method chose, and of what a regenerated image is compared to."""

NONE, RANDOM = "none", "random"
# The image after nothing was removed, and the one that was asked about.
RETRAINED, ORIGINAL = "nothing_removed", "original"
