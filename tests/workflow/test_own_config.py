"""What a user's own model and queries cannot have is refused; the shipped configs of both kinds are valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkout import PROJECT, micro_config
from config_tables import load
from safetensors.torch import save_file

from dmin.workflow.figures import explorer_notes
from dmin.workflow.paper import SECTIONS, paper_runs

pytestmark = pytest.mark.usefixtures("micro_files")


def own(queries: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return the micro config with an own adapter and changed queries; ``run`` and ``model`` change the rest."""
    config = micro_config()
    Path("own.safetensors").touch()
    Path("utf16.txt").write_text("a red fox\n", encoding="utf-16")
    config["models"]["micro"] = {"dataset": "micro", "base": "tiny", "weights": {"path": "./own.safetensors"}}
    config["models"]["micro"] |= changes.get("model", {})
    config["runs"]["micro"] |= changes.get("run", {})
    config["runs"]["micro"]["queries"] = queries or {"steps": 3}
    config["runs"]["micro"]["influence"]["methods"] = changes.get("methods", ["dmin"])
    config["compute"] |= changes.get("compute", {})
    return config


PROMPTS = {"source": "prompts", "prompts": ["a", "b"]}
IMAGES = {"source": "images", "images": {"path": "./data", "rows": 3}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"methods": ["tracin"]}, ["tracin, which needs checkpoints", "weights of its own", "trained here"]),
        (
            {"queries": IMAGES, "methods": ["journey_trak"]},
            ["journey_trak", "source is images", "generated or prompts"],
        ),
        ({"queries": PROMPTS, "methods": ["dmin_weighted"]}, ["dmin_weighted", "needs the subset of each query"]),
        ({"queries": PROMPTS, "run": {"ablation": {}}}, ["ablation", "needs the subset", "queries.source is prompts"]),
        ({"queries": {"source": "prompts"}}, ["source is prompts", "queries.prompts is not set"]),
        ({"queries": {"source": "images"}}, ["source is images", "queries.images is not set"]),
        ({"queries": {**IMAGES, "source": "held_out"}}, ["has images, but the source is held_out"]),
        ({"queries": {"source": "prompts", "prompts": "gone.txt"}}, ["names 'gone.txt', which does not exist"]),
        ({"queries": {"source": "prompts", "prompts": "data"}}, ["queries.prompts: The file", "'data' is a folder"]),
        ({"queries": {"source": "prompts", "prompts": "utf16.txt"}}, ["it seems, in UTF-16; save it as UTF-8"]),
        ({"queries": {"source": "prompts", "prompts": [" "]}}, ["queries.prompts has no prompt"]),
        ({"queries": {"source": "images", "images": {"path": "./gone", "rows": 3}}}, ["names './gone'"]),
        ({"model": {"weights": {"path": "./gone"}}}, ["models.micro.weights.path is './gone'", "does not exist"]),
        (
            {"model": {"weights": None}, "run": {"gradients": {"parameters": "adapter_with_text"}}},
            ["parameters is adapter_with_text", "adapter of model micro changes no text encoder", "set it to adapter"],
        ),
        (
            {"model": {"finetune": "full"}, "run": {"gradients": {"parameters": "adapter_with_text"}}},
            ["parameters is adapter_with_text, but models.micro is fine-tuned in full"],
        ),
        (
            {
                "model": {"finetune": "full", "weights": {"path": "./data", "alpha": 3}},
                "run": {"gradients": {"parameters": "all"}},
            },
            ["weights.alpha is for an adapter"],
        ),
        ({"model": {"weights": None}, "compute": {"train_processes": 65}}, ["train_processes is 65", "which is 64"]),
    ],
)
def test_what_cannot_be_had_is_refused(config: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(own(**config))
    assert all(word in str(caught.value) for word in words), caught.value


def test_queries_are_counted_before_anything_runs() -> None:
    Path("prompts.txt").write_text("a\n\n  b \n赤い旗\n", encoding="utf-8")
    for queries, count in ((PROMPTS, 2), (IMAGES, 3), ({"source": "prompts", "prompts": "prompts.txt"}, 3)):
        run = load(own(json.loads(json.dumps(queries)))).runs["micro"]
        assert run.queries.count == count and run.queries.subsets == ["query"]
        assert not run.influence.lambda_sweeps()
    assert run.queries.prompts == ["a", "b", "赤い旗"]


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (["unet.a.lora_A.weight", "unet.a.lora_B.weight"], "<results>/encoded/micro/tiny/train.safetensors"),
        (["lora_unet_a.lora_up.weight", "lora_unet_a.alpha"], "<results>/encoded/micro/tiny/train.safetensors"),
        (["lora_te_a.lora_up.weight"], "<results>/models/micro/encoded/train.safetensors"),
        (["text_encoder_2.a.lora_A.weight"], "<results>/models/micro/encoded/train.safetensors"),
    ],
)
def test_samples_of_an_adapter_that_changes_prompts_are_its_own(names: list[str], place: str) -> None:
    config = own(PROMPTS)
    save_file({name: torch.ones(128, 128) for name in names}, "own.safetensors")
    model = load(config).models["micro"]
    assert model.samples == place and model.text_weights == ([model.weights] if "models" in place else [])
    # What it is compared with is encoded as it is.
    assert model.test_samples == place.replace("train", "test")


def test_parts_in_text_encoders_are_counted_and_told() -> None:
    config = own(PROMPTS)
    sizes = {"unet.a.lora_A.weight": 128, "unet.a.lora_B.weight": 128, "text_encoder.b.lora_A.weight": 7}
    sizes["text_encoder.b.lora_B.weight"] = 7
    save_file({name: torch.ones(size, size) for name, size in sizes.items()}, "own.safetensors")
    plain = load(config).runs["micro"]
    assert plain.attributed == 2 * 128**2 and plain.model.own_values == (2 * 128**2, 2 * 7**2)
    assert explorer_notes(plain)["Parameters"] == (
        "adapter; the adapter's 98 values in text encoders: applied, not attributed"
    )
    config["runs"]["micro"]["gradients"]["parameters"] = "adapter_with_text"
    whole = load(config).runs["micro"]
    assert whole.attributed == 2 * 128**2 + 2 * 7**2 and explorer_notes(whole)["Parameters"] == "adapter_with_text"


def test_shipped_config_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    load(yaml.safe_load((PROJECT / "config" / "own.yaml").read_text()))


def test_paper_has_the_tables_of_the_runs_that_have_them() -> None:
    tables = load(own(PROMPTS, methods=["dmin", "journey_trak"]))
    runs = {section: paper_runs(section, tables.runs.values()) for section in SECTIONS}
    assert {section for section, found in runs.items() if found} == {
        "cost_summary", "retrieval", "hubness", "journey_steps",
    }  # fmt: skip
    assert runs["detection_rate"] == [] and runs["retrieval"] == [tables.runs["micro"]]
