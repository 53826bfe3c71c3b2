"""Figures, galleries and the explorer page; nothing here imports torch, so plotting jobs start fast."""
