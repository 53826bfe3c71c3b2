"""A user's own adapter, images and prompts: the answers of the micro run, and nothing that a subset is needed for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from checkout import Checkout, micro_config
from safetensors.torch import save_file

from dmin.data.samples import read_samples


@pytest.fixture(scope="module")
def own(finished: Checkout) -> Path:
    """Return the results of runs on the micro run's adapter and images, brought along as a user would."""
    queries = read_samples(finished.root / "results" / "runs" / "micro" / "queries" / "queries.parquet")
    folder = finished.root / "own"
    folder.mkdir()
    lines = []
    for number, row in queries.iterrows():
        (folder / f"{number:03d}.png").write_bytes(row["image"]["bytes"])
        lines.append(json.dumps({"file_name": f"{number:03d}.png", "text": row["prompt"]}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    (finished.root / "prompts.txt").write_text("a red square with 2 dots\n\na green square with 3 dots\n")
    (finished.root / "own.yaml").write_text(yaml.safe_dump(own_config(len(queries)), sort_keys=False))
    finished.run("--configfile", "own.yaml")
    finished.run("verify", "--configfile", "own.yaml")
    return finished.root / "results"


def own_config(rows: int) -> dict[str, Any]:
    """Return the micro config with the adapter of the micro model as a model of the user's own."""
    config = micro_config()
    run = config["runs"]["micro"]
    adapter = "results/models/micro/pytorch_lora_weights.safetensors"
    config["models"] = {"own": {"dataset": "micro", "base": "tiny", "weights": {"path": adapter}}}
    images = {"path": "./own", "caption_column": "text", "rows": rows}
    gradients = {"timesteps": {"count": 3}, "cache_dim": 256}
    influence = {"methods": ["dmin", "journey_trak"], "widths": [64], "top_k": 5, "options": {"journey_steps": 3}}
    config["runs"] = {
        "images": {**run, "model": "own", "queries": {"source": "images", "images": images}},
        "prompts": {
            "model": "own",
            "queries": {"source": "prompts", "prompts": "prompts.txt", "steps": 3},
            "gradients": gradients,
            "influence": influence,
            "evaluation": {"k": [2]},
        },
    }
    return config


def test_own_images_get_the_scores_of_the_run_that_made_them(own: Path) -> None:
    for method, v in (("dmin", "64"), ("dmin", "full"), ("dmin_no_norm", "256")):
        files = [own / "runs" / run / "influence" / method / f"v{v}" / "scores.npy" for run in ("micro", "images")]
        made, brought = (np.load(file) for file in files)
        np.testing.assert_allclose(brought, made, rtol=1e-5, atol=1e-7)


def test_own_adapter_is_the_one_that_was_trained(own: Path) -> None:
    model = json.loads((own / "models" / "own" / "model.json").read_text())
    assert model["own"]["path"].endswith("micro/pytorch_lora_weights.safetensors")
    assert model["parameters"] == json.loads((own / "models" / "micro" / "model.json").read_text())["parameters"]
    assert not (own / "models" / "own" / "training.csv").exists()


def test_what_was_brought_along_says_what_it_was_made_from(own: Path) -> None:
    table = pd.read_csv(own / "verify.csv", keep_default_na=False)
    brought = table[table["kind"] == "imported"].set_index("file")
    assert {"runs/images/queries/queries.parquet", "models/own/pytorch_lora_weights.safetensors"} <= set(brought.index)
    assert set(brought["status"]) == {"ok"} and set(brought["detail"]) == {""}


def test_prompts_give_an_image_each_and_a_recorded_seed(own: Path) -> None:
    queries = read_samples(own / "runs" / "prompts" / "queries" / "queries.parquet")
    assert queries["prompt"].tolist() == ["a red square with 2 dots", "a green square with 3 dots"]
    assert queries["seed"].nunique() == 2 and set(queries["subset"]) == {"query"}


@pytest.mark.parametrize("run", ["images", "prompts"])
def test_nothing_that_needs_subsets_is_made(own: Path, run: str) -> None:
    folder = own / "runs" / run
    tables = {path.stem for path in (folder / "tables").glob("*.csv")}
    journey = {"journey_steps"} if run == "prompts" else set()
    assert tables == {"retrieval", "cost", "gradient_norms", "hubness", "significance", "rank_agreement"} | journey
    assert (folder / "explorer.html").stat().st_size > 0
    assert not list(folder.glob("figures/detection*")) and not (folder / "figures" / "training.svg").exists()
    top = pd.read_parquet(folder / "influence" / "dmin" / "v64" / "exact" / "top.parquet")
    ranking = pd.read_csv(folder / "influence" / "dmin" / "v64" / "exact" / "ranking.csv")
    assert len(ranking) == len(top) > 0 and ranking["sample"].tolist() == top["sample_id"].tolist()
    if run == "images":
        assert ranking["query_file"][0] == "000.png"
    page = (folder / "explorer.html").read_text()
    assert "hits first" not in page.partition("<script")[0]


def test_samples_of_an_adapter_on_text_encoders_are_encoded_with_it(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("text")
    names = [f"{part}.lora_{side}.weight" for part in ("unet.a", "text_encoder.b") for side in "AB"]
    save_file({name: torch.ones(64, 64) for name in names}, checkout.root / "text.safetensors")
    config = own_config(1)
    config["models"]["own"]["weights"]["path"] = "text.safetensors"
    config["runs"] = {"prompts": config["runs"]["prompts"]}
    config["runs"]["prompts"]["gradients"]["parameters"] = "adapter_with_text"
    config["runs"]["prompts"]["audit"] = {"timesteps": 2, "k": 4}
    (checkout.root / "prompts.txt").write_text("a red square\n")
    checkout.write_config(yaml.safe_dump(config, sort_keys=False))
    plan = checkout.plan("audit")
    assert plan["encode_own_samples"] == 2 and not {"encode_test", "encode_samples"} & plan.keys()
