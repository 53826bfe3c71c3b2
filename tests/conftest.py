"""What holds for every test."""

from __future__ import annotations

import os

# Read when torch is imported: tiny tensors gain nothing from threads, and forked children must not inherit a pool.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TQDM_DISABLE", "1")
