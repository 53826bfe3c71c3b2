"""Every family from source images to the detection rate, on random pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import yaml
from checkout import Checkout, micro_config
from tiny_families import build_ddpm, build_sd3

DETECTION = "results/runs/micro/tables/detection_rate.csv"


def _config(family: str, finetune: str, parameters: str) -> dict[str, Any]:
    config = micro_config()
    config["bases"]["tiny"]["family"] = family
    config["models"]["micro"] |= {"finetune": finetune}
    config["models"]["micro"]["train"] |= {"ema": 0.9, "accumulation": 2}
    config["runs"]["micro"]["gradients"] |= {"parameters": parameters, "keep_raw": False}
    config["runs"]["micro"]["influence"] |= {"methods": ["dmin"], "widths": [256], "uncompressed": False}
    return config


@pytest.mark.parametrize(
    ("family", "finetune", "parameters", "build"),
    [
        ("ddpm", "full", "all", lambda folder: build_ddpm(folder, weights=False)),
        ("stable_diffusion_3", "adapter", "transformer_blocks", build_sd3),
    ],
)
def test_family_goes_from_images_to_the_detection_rate(
    new_checkout: Callable[[str], Checkout], family: str, finetune: str, parameters: str, build: Any
) -> None:
    checkout = new_checkout(family)
    (checkout.root / "base").rename(checkout.root / "other")
    build(checkout.root / "base")
    checkout.write_config(yaml.safe_dump(_config(family, finetune, parameters), sort_keys=False))
    checkout.run(DETECTION)
    table = pd.read_csv(checkout.root / DETECTION)
    assert set(table["subset"]) == {"red", "green", "blue", "mean"}
    assert table["rate"].between(0, 1).all()
    folder = checkout.root / "results" / "models" / "micro"
    facts = json.loads((folder / "model.json").read_text())
    assert facts["finetune"] == finetune and facts["written"] == "moving average"
    written = {"adapter": "pytorch_lora_weights.safetensors", "full": "pipeline"}[finetune]
    made = {written, ".sha256", "checkpoints", "model.json", "training.csv", "training_log.parquet"}
    assert {path.name for path in folder.iterdir()} == made
    assert "Nothing to be done" in checkout.snakemake("--dry-run", DETECTION).stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("ddpm", "adapter", "adapter"), "is a StableDiffusionPipeline, and family is ddpm; set family to stable_diff"),
        (("stable_diffusion", "full", "adapter"), "parameters is adapter, but models.micro is fine-tuned in full"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(
    new_checkout: Callable[[str], Checkout], change: tuple[str, str, str], sentence: str
) -> None:
    checkout = new_checkout("refused")
    checkout.write_config(yaml.safe_dump(_config(*change)))
    result = checkout.snakemake("--dry-run")
    assert result.returncode != 0 and sentence in result.stderr


def test_reference_objective_and_pieces_are_checked(new_checkout: Callable[[str], Checkout]) -> None:
    checkout = new_checkout("refused")
    for section, key, value, sentence in (
        ("gradients", "objective", "reference", "objective is reference, which only stable_diffusion_3 has"),
        ("train", "accumulation", 9, "accumulation is 9, above batch_size 8"),
    ):
        config = micro_config()
        place = config["runs"]["micro"] if section == "gradients" else config["models"]["micro"]
        place[section][key] = value
        checkout.write_config(yaml.safe_dump(config))
        result = checkout.snakemake("--dry-run")
        assert result.returncode != 0 and sentence in result.stderr
