"""What a run reads of the test set to rank scores among its."""

from __future__ import annotations

import pytest
from run_config import PROJECT, RUN, config, tables

from dmin.catalogue.methods import read_cache
from dmin.runtime.errors import UserError
from dmin.workflow.figures import drawn_figures
from dmin.workflow.job_contents import JobContents
from dmin.workflow.plan_entries import gradient_jobs, planned_jobs
from dmin.workflow.tables import read_tables
from dmin.workflow.verify_entries import verify_entries


def test_gradients_of_the_test_set_are_read_where_scores_are_ranked_among_its() -> None:
    methods = ["dmin", "journey_trak", "dmin_scaled", "text"]
    plain = {"methods": methods, "widths": [64], "top_k": 10, "uncompressed": True}
    without = tables(methods, influence=plain).runs["r"]
    found = tables(methods, influence=plain | {"significance": {"held_out": True}})
    run = found.runs["r"]
    assert without.held_out.scored("dmin", "64") == {} and without.held_out.shards == [] and without.held_out.count == 0
    # What queries are read of along their trajectory is read of training samples, and so of held-out ones, as loss.
    assert run.held_out.caches == ["loss", "loss_scaled"] and run.held_out.count == 21
    shards = [f"{RUN}/gradients/loss/test/00000000-00000021.safetensors"]
    assert run.held_out.scored("journey_trak", "64") == {
        "held_out": f"{RUN}/sketch/loss/v64/test.npy",
        "held_out_norms": shards,
        "held_out_samples": "<results>/datasets/d/test.parquet",
    }
    assert run.held_out.scored("dmin", "full")["held_out"] == shards
    assert gradient_jobs(run) == gradient_jobs(without) + 2 and planned_jobs(run) == planned_jobs(without) + 4
    entries = {str(entry["files"]): entry for entry in verify_entries([run], [], JobContents(found, print))}
    sketch = "runs/r/sketch/loss/v64/test.npy"
    assert str({"sketch": sketch}) in entries
    scores = next(entry for files, entry in entries.items() if "influence/dmin/v64/scores.npy" in files)
    assert scores["made_from"]["held_out"] == ["sha256", sketch] and scores["config"]["lists"] == run.list_settings


def test_risk_is_told_where_lists_are_sure_and_a_truth_is_known() -> None:
    methods = ["dmin", "text"]
    given = {"methods": methods, "widths": [64], "top_k": 10, "significance": {"held_out": True}}
    assert not tables(methods).runs["r"].tells_risk
    run = tables(methods, influence=given).runs["r"]
    # A method without gradients has no p-values, and without a bank there is nothing to retrain.
    assert run.tells_risk and run.held_out.judged == [("dmin", "64")]
    assert run.risk_inputs["tops"] == [f"{RUN}/influence/dmin/v64/exact/top.parquet"]
    assert "losses" not in run.risk_inputs
    assert run.risk_settings == {"k": min(run.evaluation["k"]), "interval": None, "confidence": 0.95}
    assert "risk_coverage" in drawn_figures(run)
    judged = tables(methods, influence=given, lds={"bank": "k"}).runs["r"]
    assert judged.lds is not None
    assert judged.risk_inputs["losses"] == judged.lds.losses and judged.risk_settings["interval"]["confidence"] == 0.95
    assert "risk_coverage" not in drawn_figures(judged), "the default run retrains nothing"


def test_scores_are_not_ranked_among_those_of_no_test_set() -> None:
    given = config(["dmin"], influence={"methods": ["dmin"], "widths": [64], "significance": {"held_out": True}})
    given["datasets"]["d"]["train_fraction"] = 1
    given["runs"]["r"]["queries"] = {"source": "prompts", "prompts": ["a cat"]}
    with pytest.raises(UserError, match=r"^runs\.r\.influence\.significance\.held_out is true, but datasets\.d has no"):
        read_tables(given, PROJECT)


def test_regions_are_read_of_the_cache_of_queries_and_held_out_images_of_that_of_training() -> None:
    read = {split: read_cache("dmin_query_scaled", split) for split in ("train", "test", "queries", "regions")}
    assert read == {"train": "loss", "test": "loss", "queries": "loss_query_scaled", "regions": "loss_query_scaled"}
