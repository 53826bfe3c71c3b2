"""What rules ask of banks and of studies of removal: sets, ranges and files, with real values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from run_config import PROJECT, RUN, config, tables

from dmin.runtime.errors import UserError
from dmin.workflow.tables import Tables, read_tables


def test_bank_cuts_its_trainings_and_names_what_is_left_out() -> None:
    run = tables(["dmin"], lds={"bank": "k"}).runs["r"]
    assert run.lds is not None
    bank = run.lds.bank
    assert bank.ranges == ["00000000-00000005", "00000005-00000010", "00000010-00000015", "00000015-00000020"]
    # Set 2 is trained at places 4 and 5, so that two ranges depend on it.
    left_out = [bank.range_settings(name)["exclude"] for name in bank.ranges]
    assert left_out == [[2], [2], [], [9]]
    assert bank.range_settings(bank.ranges[0], "seed") == {"exclude": [2], "seed": 42, "seeds": 2}
    assert run.lds.losses[0] == f"{RUN}/lds/losses/00000000-00000005.parquet"
    assert tables(["dmin"]).runs["r"].lds is None


def test_study_of_removal_knows_its_sets() -> None:
    removal = {"methods": ["dmin", "text"], "queries": 4, "draws": 3, "seeds": 2, "per_job": 5, "exclude": ["dmin/1"]}
    study = tables(["dmin", "text"], removal=removal).runs["r"].studies["removal"]
    assert study.removals == ["none", "random", "dmin", "text"]
    assert [study.sets(name) for name in study.removals] == [1, 3, 4, 4]
    assert study.sizes == [8]
    assert study.ranges("dmin") == ["00000000-00000005", "00000005-00000008"]
    assert study.range_settings("dmin", "00000000-00000005")["exclude"] == [1]
    assert study.range_settings("text", "00000000-00000005")["exclude"] == []
    assert "dmin/{set}" in study.training_settings("dmin", "00000000-00000005")["advice"]
    assert study.choice_settings("none") == {}
    assert study.choice_settings("random") == {"draws": 3, "k": [8], "seed": 42}
    assert study.choice_settings("dmin") == {"k": [8], "queries": 4}
    assert study.scores("dmin") == [f"{RUN}/influence/dmin/v256/scores.npy"]
    assert study.scores("text", "scores.json") == [f"{RUN}/influence/text/scores.json"]
    assert study.scores("random") == []
    assert study.widths == {"dmin": "256"}
    assert len(study.images) == len(study.removal_of_ranges) == 1 + 2 + 2 + 2


def test_study_of_deletion_has_a_set_for_every_share() -> None:
    deletion = {"methods": ["dmin"], "queries": 4, "draws": 3, "shares": [0.1, 0.011, 0.01], "per_job": 50}
    study = tables(["dmin", "text"], deletion=deletion).runs["r"].studies["deletion"]
    # Of 80 samples both small shares are one.
    assert study.sizes == [1, 8]
    assert [study.sets(name) for name in study.removals] == [1, 6, 8]
    assert study.choice_settings("dmin") == {"k": [1, 8], "queries": 4}
    assert study.losses == [
        f"{RUN}/deletion/{name}/losses/00000000-{stop:08d}.parquet"
        for name, stop in (("none", 2), ("random", 12), ("dmin", 16))
    ]
    assert study.loss_settings == {"timesteps": 1000, "seed": 42}


def test_runs_are_pooled_at_the_width_that_is_shown() -> None:
    lds = {"bank": "k"}
    pooling = tables(["dmin", "text"], lds=lds).pooling
    assert pooling.table == ["<results>/banks/pooled_lds.csv"]
    assert pooling.settings == [{"bank": "k", "setting": ["dmin_cubic", "shared"], "methods": ["dmin", "text"]}]
    scores = [f"{RUN}/influence/dmin/v256/scores.npy", f"{RUN}/influence/text/scores.npy"]
    assert pooling.files["scores_0"] == scores and pooling.files["losses_0"][0].startswith(f"{RUN}/lds/losses/")
    assert tables(["dmin"]).pooling.table == []


def two_judged(order: list[str], **second: object) -> Tables:
    """Return the tables of a config whose runs ``a`` and ``b`` have an LDS, ``b`` by other settings."""
    given = config(["dmin"], lds={"bank": "k"})
    run = given["runs"].pop("r")
    given["runs"] = {name: run | (second if name == "b" else {}) for name in order}
    return read_tables(given, PROJECT)


def test_order_of_runs_changes_nothing_of_what_is_pooled() -> None:
    one, other = two_judged(["b", "a"]).pooling, two_judged(["a", "b"]).pooling
    assert one.files == other.files and one.settings == other.settings
    assert one.files["losses_0"][0].startswith("<results>/runs/a/")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (
            {"lds": {"bank": "k", "bootstrap": 700}},
            r"runs\.a\.lds\.bootstrap is 500 and runs\.b\.lds\.bootstrap is 700",
        ),
        (
            {"evaluation": {"k": [5], "confidence": 0.9}},
            r"runs\.b\.evaluation\.confidence is 0\.9, but one table pools",
        ),
    ],
)
def test_runs_with_other_intervals_are_not_pooled(second: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        two_judged(["a", "b"], **second)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda found: found.runs["nope"], r"runs has no 'nope', it has r; correct the name of the file"),
        (lambda found: found.games["nope"], "games has no 'nope', it has nothing"),
        (lambda found: found.measures["nope"], "games has no 'nope'"),
        (lambda found: found.contributors["nope"], "games has no 'nope'"),
        (lambda found: found.runs["r"].judged, r"runs\.r has no lds; add it, or ask for the file of a run that has"),
        (lambda found: found.runs["r"].maps, r"runs\.r has no maps"),
        (lambda found: found.runs["r"].studies["removal"], r"runs\.r has no 'removal', it has nothing"),
    ],
)
def test_files_of_what_the_config_lacks_are_told_in_a_sentence(ask: Callable[[Tables], object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ask(tables(["dmin"]))


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"checkpoints": [800]}, False),
        ({"seed": 5}, False),
        ({"learning_rate": 0.1}, True),
        ({"steps": 900}, True),
    ],
)
def test_checkpoints_and_seed_of_a_model_leave_retrainings_of_it_alone(changed: dict[str, Any], again: bool) -> None:
    given, other = config(["dmin"], audit={"consequence": {}}), config(["dmin"], audit={"consequence": {}})
    game = {"model": "m", "players": {"by": "subset"}, "reference": {"rows": 4}}
    coalitions = {"fit": {"count": 2}, "test": {"alphas": []}}
    given["games"] = other["games"] = {"g": {**game, "coalitions": coalitions}}
    other["models"]["m"]["train"] |= {"checkpoints": [], **changed}
    asked = []
    for each in (read_tables(given, PROJECT), read_tables(other, PROJECT)):
        consequence = each.runs["r"].audit.consequence
        assert consequence is not None
        asked.append((each.models["m"].retraining, consequence.model_settings, each.games["g"].tuning("retrain")))
    assert [one != two for one, two in zip(*asked, strict=True)] == [again] * 3
    rules = "".join(path.read_text() for path in (PROJECT / "rules").glob("*.smk"))
    retrained = re.findall(
        r"model=lambda w: .*?(\w+)(?:\(.*\))?,\n(?:.*\n){3,4}.*code\(\"(?:retrain_subsets|unlearn)\"", rules
    )
    assert set(retrained) == {"retraining", "model_settings", "tuning"} and len(retrained) == 4


def test_retraining_of_a_whole_model_hangs_on_no_rank() -> None:
    model = tables(["dmin"]).models["m"]
    whole = replace(model, settings={**model.settings, "finetune": "full"})
    assert "lora" in model.retraining and "lora" not in whole.retraining
