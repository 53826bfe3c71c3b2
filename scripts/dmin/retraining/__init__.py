"""Retraining on chosen parts of the training set, to learn what training would have done."""
