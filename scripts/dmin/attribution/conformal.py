"""P-values of training images against images that were not trained on, and the share of false ones among many."""

from __future__ import annotations

import numpy as np


def conformal_p(values: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return, for each of ``values [n]``, the share of held-out ones that are as large, the value itself among them.

    ``(1 + #{j: held_out_j >= value}) / (1 + m)``: uniform, or larger, for a value drawn as the held-out ones are. NaN
    where the value is, or where none is held out.

    Source: Vovk, Gammerman and Shafer 2005, conformal p-values.
    """
    known = np.sort(held_out[np.isfinite(held_out)])
    if not len(known):
        return np.full(len(values), np.nan)
    as_large = len(known) - np.searchsorted(known, values, side="left")
    return np.where(np.isfinite(values), (1 + as_large) / (1 + len(known)), np.nan)


def adjusted(p_values: np.ndarray) -> np.ndarray:
    """Return the least false discovery rate at which each of ``p_values [n]`` is found; NaN where there is none.

    Benjamini and Hochberg's procedure, which holds for conformal p-values of one calibration set too.

    Source: Benjamini and Hochberg 1995; Bates, Candès, Lei, Romano and Sesia 2023.
    """
    known = np.isfinite(p_values)
    found = np.full(len(p_values), np.nan)
    if known.any():
        order = np.argsort(p_values[known], kind="stable")
        rates = p_values[known][order] * (len(order) / np.arange(1, len(order) + 1))
        rates[order] = np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1)
        found[known] = rates
    return found
