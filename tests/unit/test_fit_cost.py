"""How many coalitions fits are made of, and what these are charged for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricated_game import INTERVAL, write_game

from dmin.evaluation import contributor_lds
from dmin.evaluation.contributor_lds import budgets, find_lds
from dmin.evaluation.exact_games import counts
from dmin.evaluation.fit_cost import FitCost
from dmin.games.contributions import fit_contributions
from dmin.games.records import Records

COMPUTE = {"retrain": 1.0, "sparsified": 0.05, "pruning": 0.6}


def test_a_fit_pays_for_its_seeds_and_what_retrainings_of_few_samples_take() -> None:
    # Players of 1, 2, ..., 6 samples; the second draw has all of them in one coalition.
    member = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]], dtype=bool)
    draws = np.array([member, [[True] * 6, [False] * 6]])
    samples = [1, 2, 3, 4, 5, 6]
    steps, epochs = (FitCost(COMPUTE, budget) for budget in ("steps", "epochs"))
    assert steps.paid("retrain", member, 3, samples) == 6 and steps.paid("retrain", draws, 1, samples) == 2
    assert np.isclose(epochs.paid("retrain", member, 3, samples), 3 * (6 + 6) / 21)
    assert np.isclose(epochs.paid("retrain", draws, 1, samples), (12 / 21 + 1) / 2)
    # Others go on for a number of steps of their own, whatever the coalition.
    assert np.isclose(epochs.paid("sparsified", member, 3, samples), 6 * 0.05 + 0.6)
    assert np.isnan(epochs.paid("unlearn", member, 3, samples))


@pytest.mark.parametrize("drawn", [True, False])
def test_lds_charges_every_member_of_a_fit(tmp_path: Path, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contributor_lds, "DRAWS", 3)
    files = write_game(tmp_path)
    table = pd.read_csv(files.members)
    numbers, retrained = table["coalition"], table["trainer"] == "retrain"
    if drawn:
        # What was sparsified for the fit was retrained, three times each.
        fitted = table[(table["trainer"] == "sparsified") & (numbers >= 10_000)].assign(trainer="retrain")
        table = pd.concat([table[retrained], *(fitted.assign(seed=seed) for seed in range(3))])
    else:
        table = table[retrained & (numbers < 64)]
    table[table["behaviour"] == "quality"].to_csv(files.members, index=False)
    records = Records.read(files)
    given, interval = fit_contributions(records, {}, {**INTERVAL, "bootstrap": 2}), {**INTERVAL, "bootstrap": 2}
    steps, epochs = (
        find_lds(records, given, FitCost(COMPUTE, budget), interval).query("estimator == 'shapley'")
        for budget in ("steps", "epochs")
    )
    assert (steps["compute"] == (3 if drawn else 2) * steps["coalitions"]).all() and len(steps)
    assert (epochs["compute"] / steps["compute"]).between(0.3, 0.7).all()


def test_numbers_of_coalitions_double() -> None:
    assert counts(4) == [4, 6, 8, 12] and counts(6) == [4, 6, 8, 12, 16, 24, 32, 48]
    assert budgets(40) == [8, 16, 32, 40] and budgets(16) == [8, 16] and budgets(5) == [5]
