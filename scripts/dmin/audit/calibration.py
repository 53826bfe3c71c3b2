"""Whether the p-values of an audit hold what they say: on held-out images, and on images without a planted fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from dmin.attribution.conformal import adjusted, conformal_p
from dmin.audit.findings import Audited, Found, LeftOut
from dmin.audit.issues import ISSUES
from dmin.audit.report import read_samples_table
from dmin.evaluation.intervals import mean_interval
from dmin.runtime.atomic import write_csv
from dmin.runtime.readers import read_csv
from dmin.runtime.seeds import derive_seed

COLUMNS = [
    "issue", "seeds", "ks_p", "uniform", "clean_p", "fdr", "found", "false_share", "low", "high", "false_held_out",
]  # fmt: skip
SEEDS = 10
# The level below which p-values are not taken for uniform.
_LEVEL = 0.05


def evaluate_calibration(samples: Path, held_out: Path, planted: Path, settings: Mapping[str, Any], out: Path) -> None:
    """Write, for every issue with p-values against held-out images, whether these are uniform, and what is false.

    Over 10 halvings of the held-out images, one half is what the others are ranked among: ``ks_p`` is the median of the
    p-values of Kolmogorov and Smirnov's test that the other half's are uniform, ``uniform`` the share of halvings at
    which it is above .05, and ``clean_p`` that of the one-sided test that training images without a planted fault have
    no more of the issue than held-out ones. ``found`` are the training images found at the rate ``fdr``, on average,
    ``false_share`` the share of them without a planted fault, with its interval over halvings, and ``false_held_out``
    the share of held-out images, known not to be trained on, where these are looked at too.

    Args:
        settings: ``fdr``, ``confidence`` and ``seed``.

    Raises:
        UserError: a table is torn.
    """
    given = Audited(read_samples_table(samples), read_samples_table(held_out), settings)  # type: ignore[arg-type]
    faults = read_csv(planted, dtype=str, keep_default_na=False)
    touched = set(faults["sample"]) | set(faults.loc[faults["fault"].str.endswith("duplicates"), "of"])
    clean = ~given.train["sample"].isin(touched).to_numpy()
    rows = []
    for name, issue in ISSUES.items():
        try:
            found = issue(given)
        except LeftOut:
            continue
        if found.held_out is not None:
            rows.append((name, SEEDS, *_judge(found, found.held_out, clean, settings)))
    write_csv(pd.DataFrame(rows, columns=COLUMNS), out)


def _judge(found: Found, held_out: np.ndarray, clean: np.ndarray, settings: Mapping[str, Any]) -> tuple[float, ...]:
    halvings = list(_halvings(found, held_out, clean, settings))
    tests, counts, false, known = (np.array(column) for column in zip(*halvings, strict=True))
    low, high = mean_interval(false, settings["confidence"])
    return (
        float(np.median(tests)),
        float((tests > _LEVEL).mean()),
        float(ks_2samp(found.strength[clean], held_out, alternative="less").pvalue),
        settings["fdr"],
        counts.mean(),
        false.mean(),
        max(0.0, low),
        min(1.0, high),
        known.mean(),
    )


def _halvings(
    found: Found, held_out: np.ndarray, clean: np.ndarray, settings: Mapping[str, Any]
) -> Iterator[tuple[float, int, float, float]]:
    """Yield the test's p-value, what is found, and the shares of clean and of held-out images among it."""
    for number in range(SEEDS):
        generator = np.random.default_rng(derive_seed(settings["seed"], "audit", "halves", number))
        order = generator.permutation(len(held_out))
        known, asked = held_out[order[::2]], held_out[order[1::2]]
        # P-values are uniform where both halves are drawn alike; a test against the uniform law itself would take the
        # chance of one calibration set for a fault.
        uniform = ks_2samp(asked, known).pvalue
        taken = adjusted(conformal_p(found.strength, known)) <= settings["fdr"]
        both = adjusted(conformal_p(np.concatenate([found.strength, asked]), known)) <= settings["fdr"]
        false = float((taken & clean).sum() / max(1, taken.sum()))
        yield float(uniform), int(taken.sum()), false, float(both[len(found.strength) :].sum() / max(1, both.sum()))
