"""The audit of a training set: which of its images should be looked at, and why."""
