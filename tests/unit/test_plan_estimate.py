"""The plan: attributed parameters, the paper's accounting, and what the estimates are held against."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import UNet2DModel
from tiny_pipeline import CPU, build_adapter, gradient_config

from dmin.gradients.selection import select_parameters
from dmin.gradients.sketches.count_sketch import CountSketch
from dmin.models.load import load_family
from dmin.plan import memory
from dmin.plan.architecture import read_architecture
from dmin.plan.denoiser import MetaDenoiser
from dmin.plan.plan import PlanFiles, estimate_runs, plan
from dmin.plan.render import human_bytes, render_text_parts
from dmin.plan.throughput import find_throughput
from dmin.runtime.errors import UserError

PROJECT = Path(__file__).parents[2]
SHIPPED = PROJECT / "resources" / "architectures"
NOWHERE = Path("none.csv")
LORA = {"rank": 4, "alpha": 8, "targets": ["to_q", "to_k", "to_v", "to_out.0"]}
SD14 = {"family": "stable_diffusion", "path": "CompVis/stable-diffusion-v1-4", "revision": None}
SD3 = {"family": "stable_diffusion_3", "path": "stabilityai/stable-diffusion-3-medium-diffusers", "revision": None}
CIFAR = {"family": "ddpm", "path": "google/ddpm-cifar10-32", "revision": None}


def stored_pass(of: str, rows: int) -> dict[str, Any]:
    return {"of": of, "parts": "one", "rows": rows, "evaluations": rows, "width": 65536, "kept": False}


def run_of(base: dict[str, Any], lora: dict[str, Any] | None, selection: str, **changes: Any) -> dict[str, Any]:
    """Return a run of the paper's size: 9,288 samples, five timesteps."""
    gradients = gradient_config(
        parameters=selection,
        timesteps={"grid": "dmin_cubic", "count": 5, "custom": []},
        cache_dim=65536,
        keep_raw=False,
        shard_size=256,
    )
    return {
        "run": "paper",
        "dataset": "mixed",
        "model": "big",
        "base_name": "base",
        "base": base,
        "lora": lora,
        "size": 512,
        "samples": 9288,
        "queries": 300,
        "gradients": gradients,
        "widths": ["4096", "65536"],
        "links": 16,
        "batch": 4,
        "gradient_jobs": 39,
        "jobs": 63,
        "throughput": None,
        "own_values": None,
        "attributed": None,
        "own_adapter": False,
        "passes": [stored_pass("train", 9288 * 5), stored_pass("queries", 300 * 5)],
        "sketches": [{"v": v, "rows": 9588 * 5} for v in ("4096", "65536")],
        **changes,
    }


def test_full_sd3_is_the_papers_accounting_and_takes_seconds() -> None:
    start = time.process_time()
    table, costs = estimate_runs([run_of(SD3, None, "transformer_blocks")], SHIPPED, NOWHERE)
    assert time.process_time() - start < 10
    row = table.iloc[0]
    assert row["parameters"] == 2_008_851_456
    assert row["evaluations"] == 46_440
    assert row["uncompressed_bytes_per_sample"] == 4 * 5 * 2_008_851_456
    assert human_bytes(row["uncompressed_bytes_per_sample"]) == "37.42 GiB"
    assert human_bytes(costs.iloc[0]["uncompressed_total_bytes"]) == "339.39 TiB"
    assert row["v"] == "4096" and row["bytes_per_sample"] == 80 * 1024
    assert human_bytes(row["total_bytes"]) == "725.6 MiB"
    assert human_bytes(table.iloc[1]["bytes_per_sample"]) == "1.25 MiB"


@pytest.mark.parametrize(
    ("base", "lora", "selection", "parameters"),
    [
        (SD14, LORA, "adapter", 797_184),
        (SD3, LORA, "adapter", 1_179_648),
        (SD3, LORA, "transformer_blocks", 1_179_648),
        (SD3, {**LORA, "rank": 8}, "adapter", 2 * 1_179_648),
        (SD3, None, "regex:transformer_blocks", 2_008_851_456),
        (SD14, None, "all", 859_520_964),
        (CIFAR, None, "all", 35_746_307),
    ],
)
def test_attributed_parameters(base: Any, lora: Any, selection: str, parameters: int) -> None:
    denoiser = MetaDenoiser(read_architecture("base", base, SHIPPED), lora, selection)
    assert denoiser.attributed == parameters
    assert {value.device.type for value in denoiser.model.parameters()} == {"meta"}


def test_plan_of_a_local_base_counts_what_the_loaded_model_holds(tiny_base: Any, tmp_path: Path) -> None:
    family = load_family(tiny_base, CPU, ["encoders", "denoiser"])
    family.load_adapter(build_adapter(tiny_base, tmp_path).parent)
    expected = sum(value.numel() for value in select_parameters(family.denoiser, "adapter").values())
    architecture = read_architecture("tiny", tiny_base, SHIPPED)
    assert MetaDenoiser(architecture, LORA, "adapter").attributed == expected
    assert architecture.latent_shape(16) == family.latent_shape(16)


def test_saved_bytes_are_those_of_a_real_forward_pass() -> None:
    # The meta pass must keep what a real one keeps.
    architecture = read_architecture("base", CIFAR, SHIPPED)
    planned = MetaDenoiser(architecture, None, "all").saved_bytes(32)
    model: Any = UNet2DModel.from_config(dict(architecture.denoiser))

    def kept(rows: int) -> int:
        tensors: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda value: tensors.append(value) or value, lambda value: value
        ):
            model(torch.randn(rows, 3, 32, 32), torch.zeros(rows))
        return sum({value.untyped_storage()._cdata: value.untyped_storage().nbytes() for value in tensors}.values())

    assert planned == pytest.approx(kept(2) - kept(1), rel=0.05)


@pytest.mark.parametrize(("rows", "dimension", "links"), [(2000, 64, 16), (500, 5, 4)])
def test_index_bytes_are_those_of_a_saved_index(rows: int, dimension: int, links: int, tmp_path: Path) -> None:
    index = hnswlib.Index(space="ip", dim=dimension)
    index.init_index(max_elements=rows, M=links, ef_construction=50, random_seed=1)
    index.add_items(np.random.default_rng(0).normal(size=(rows, dimension)).astype(np.float32), num_threads=1)
    index.save_index(str(tmp_path / "index"))
    assert memory.index_bytes(rows, dimension, links) == pytest.approx((tmp_path / "index").stat().st_size, rel=0.01)


@pytest.mark.parametrize("width", [4096, 2**17])
def test_map_bytes_are_those_of_a_sketch(width: int) -> None:
    parameters = 2**18
    cells: Any = CountSketch(parameters, width, 0, CPU, "permutation")._cells
    held = sum(value.nbytes for value in vars(cells).values() if isinstance(value, torch.Tensor))
    assert memory.map_bytes(parameters, width, "permutation")[0] == held
    assert memory.map_bytes(parameters, width, "rolled") == (0, 0)


def test_cache_counts_what_is_stored() -> None:
    # Ten rows, three timesteps: 256 halves and a float32 norm each, then 7,680 kept halves more.
    assert memory.cache_bytes(10, 3, 256, 7680, False) == 10 * 3 * (2 * 256 + 4)
    assert memory.cache_bytes(10, 3, 256, 7680, True) == 10 * 3 * (2 * (256 + 7680) + 4)


def test_hours_come_from_the_stated_throughput() -> None:
    _, costs = estimate_runs([run_of(CIFAR, None, "all", size=32, throughput=20.0)], SHIPPED, NOWHERE)
    assert costs["throughput"].unique().tolist() == ["stated"]
    assert costs["hours"].iloc[0] == pytest.approx((9288 + 300) * 5 / 20 / 3600)


def test_own_adapter_is_counted_by_its_file_and_its_text_encoders_too(tiny_base: Any) -> None:
    own = {"own_values": [100_000, 7_000], "attributed": 100_000, "own_adapter": True}
    asked = run_of({**tiny_base}, LORA, "adapter", size=16, **own)
    asked["gradients"] |= {"cache_dim": 1024}
    (plain, *_), (beside, *_) = (table.to_dict("records") for table in estimate_runs([asked], SHIPPED, NOWHERE))
    assert plain["parameters"] == 100_000 and beside["text_parameters"] == 7_000
    said = "paper: 7,000 values of the adapter are in text encoders: applied, not attributed"
    assert render_text_parts(pd.DataFrame([beside])).startswith(said)
    asked |= {"attributed": 107_000, "gradients": {**asked["gradients"], "parameters": "adapter_with_text"}}
    (table, *_), (costs, *_) = (table.to_dict("records") for table in estimate_runs([asked], SHIPPED, NOWHERE))
    assert table["parameters"] == 107_000 and not render_text_parts(pd.DataFrame([costs]))
    encoder = load_family(tiny_base, CPU, ["text"]).text_encoder
    held = 4 * sum(value.numel() for value in encoder.parameters())
    assert costs["device_bytes"] - beside["device_bytes"] == pytest.approx(held + 2.125 * 7_000, rel=0.02)


def test_measured_throughput_is_that_of_the_same_model_size_and_sketch(tmp_path: Path) -> None:
    measured = tmp_path / "gradients.csv"
    measured.write_text(
        "model,device,variant,evaluations_per_second\n"
        "ddpm_cifar,slow,hooks,2\nddpm_cifar,fast,hooks,9\nddpm_cifar,fast,hooks_rolled,11\nsd14_lora,fast,hooks,5\n"
    )
    found = find_throughput(None, 35_746_307, (3, 32, 32), "permutation", measured)
    assert (found.per_second, found.source) == (9.0, "measured on fast")
    assert find_throughput(None, 35_746_307, (3, 32, 32), "rolled", measured).per_second == 11.0
    assert find_throughput(4.0, 35_746_307, (3, 32, 32), "rolled", measured).per_second == 4.0
    for parameters, latent, path in (
        (35_746_307, (3, 64, 64), measured),
        (35_746_308, (3, 32, 32), measured),
        (1_179_648, (16, 64, 64), measured),
        (35_746_307, (3, 32, 32), NOWHERE),
    ):
        assert find_throughput(None, parameters, latent, "rolled", path).per_second is None


def test_plan_is_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, costs = tmp_path / "plan.csv", tmp_path / "plan_costs.csv"
    files = PlanFiles(table, costs, tmp_path / "plan_games.csv")
    plan([run_of(SD14, LORA, "adapter", widths=["4096", "full"])], [], SHIPPED, NOWHERE, files)
    lines = table.read_text().splitlines()
    assert lines[0] == (
        "run,dataset,model,parameters,timesteps,samples,v,evaluations,uncompressed_bytes_per_sample,bytes_per_sample,"
        "total_bytes"
    )
    assert lines[1] == "paper,mixed,big,797184,5,9288,4096,46440,15943680,81920,760872960"
    assert lines[2] == "paper,mixed,big,797184,5,9288,full,46440,15943680,15943680,148084899840"
    assert costs.read_text().splitlines()[1].startswith("paper,4096,CompVis/stable-diffusion-v1-4,adapter,")
    printed = capsys.readouterr().out
    assert "| 797,184 " in printed and "state plan.throughput" in printed


@pytest.mark.parametrize(
    ("base", "lora", "selection", "sentence"),
    [
        (
            {**SD14, "path": "owner/unheard-of"},
            LORA,
            "adapter",
            r"bases\.base\.path 'owner/unheard-of' has no unet/con",
        ),
        ({**SD14, "path": "/none"}, LORA, "adapter", r"bases\.base\.path '/none' has no"),
        ({**CIFAR, "family": "stable_diffusion"}, LORA, "adapter", "google/ddpm-cifar10-32' has no unet"),
        (
            {**SD14, "family": "ddpm"},
            None,
            "all",
            "family is ddpm, whose denoiser is a UNet2DModel, but .* holds a UNet2DC",
        ),
        (SD14, {**LORA, "targets": ["to_x"]}, "adapter", r"lora\.targets \['to_x'\] has no place"),
        (SD14, None, "adapter", "the model has no LoRA adapter"),
        (CIFAR, None, "transformer_blocks", "no transformer blocks"),
        (CIFAR, None, "regex:nothing", "matches no parameter"),
    ],
)
def test_what_cannot_be_planned_is_told(base: Any, lora: Any, selection: str, sentence: str) -> None:
    with pytest.raises(UserError, match=rf"runs\.paper cannot be planned: .*{sentence}"):
        estimate_runs([run_of(base, lora, selection)], SHIPPED, NOWHERE)


def test_sketches_wider_than_the_gradient_are_refused() -> None:
    run = run_of(SD14, {**LORA, "rank": 1, "targets": ["to_q"]}, "adapter")
    with pytest.raises(
        UserError, match=r"cache_dim is 65536, more than the \d+ attributed parameters; lower it or select more"
    ):
        estimate_runs([run], SHIPPED, NOWHERE)


def test_config_without_runs_has_no_plan() -> None:
    with pytest.raises(UserError, match="no runs to plan; add one"):
        estimate_runs([], SHIPPED, NOWHERE)


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1023, "1023 B"), (81920, "80.00 KiB"), (760872960, "725.6 MiB"), (2**50, "1.00 PiB")]
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text
