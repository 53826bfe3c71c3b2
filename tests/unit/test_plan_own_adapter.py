"""P of an adapter of the user's own is that of its file, whatever is chosen of it, or said to be unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from run_config import PROJECT, config
from safetensors.torch import load_file, save_file
from tiny_pipeline import CPU

from dmin.doctor.cost import Machine, examine_cost
from dmin.gradients.selection import select_parameters
from dmin.models.families.family import Family
from dmin.models.load import load_family
from dmin.plan.plan import estimate_runs
from dmin.plan.render import render_sizes
from dmin.runtime.errors import UserError
from dmin.workflow.plan_entries import plan_entry
from dmin.workflow.tables import Tables, read_tables

SHIPPED, NOWHERE = PROJECT / "resources" / "architectures", Path("none.csv")
RANK = 16
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def family(tiny_base: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Return a model with an adapter of four times the default rank, as it is loaded from a folder ``own``."""
    made, loaded = (load_family(tiny_base, CPU, ["denoiser"]) for _ in range(2))
    made.add_adapter({"rank": RANK, "alpha": RANK, "targets": ["to_q", "to_k", "to_v", "to_out.0"]})
    folder = tmp_path_factory.mktemp("own")
    made.save_adapter(folder)
    loaded.load_adapter(folder)
    loaded.folder = folder
    return loaded


def opened(base: Mapping[str, Any], adapter: Path | str, selection: str, **gradients: Any) -> Tables:
    given = config(["dmin"], gradients={"cache_dim": 256, "parameters": selection, **gradients})
    given["runs"]["r"]["influence"] |= {"widths": [64], "uncompressed": gradients.get("keep_raw", False)}
    given["bases"] = {"b": dict(base)}
    given["models"]["m"] = {"dataset": "d", "base": "b", "weights": {"path": str(adapter)}}
    given.pop("banks")
    return read_tables(given, PROJECT)


def planned(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame]:
    return estimate_runs([plan_entry(tables, tables.runs["r"]) | {"size": 16}], SHIPPED, NOWHERE)


@pytest.mark.parametrize(
    "selection", ["adapter", "transformer_blocks", "regex:lora_B", "regex:to_q", r"regex:lora_A\.default", "all"]
)
def test_parameters_of_an_own_adapter_are_those_of_the_loaded_model(
    tiny_base: Mapping[str, Any], family: Any, selection: str
) -> None:
    expected = sum(value.numel() for value in select_parameters(family.denoiser, selection).values())
    tables = opened(tiny_base, family.folder, selection)
    assert tables.runs["r"].attributed == expected
    assert planned(tables)[0]["parameters"].unique().tolist() == [expected]
    with pytest.raises(UserError, match=rf"above the {expected} attributed parameters of model m"):
        opened(tiny_base, family.folder, selection, cache_dim=2**30)


def test_choice_that_an_own_adapter_lacks_is_refused_without_a_word_on_targets(
    tiny_base: Mapping[str, Any], family: Any
) -> None:
    with pytest.raises(UserError, match=r"'regex:lokr_w1', which matches no parameter of model m; correct the choice"):
        opened(tiny_base, family.folder, "regex:lokr_w1")


@pytest.mark.parametrize("selection", ["transformer_blocks", "regex:lora_B"])
def test_parameters_that_only_the_import_tells_are_unknown(
    tiny_base: Mapping[str, Any], family: Any, selection: str, tmp_path: Path
) -> None:
    ends = {"lora_A": "lora_down", "lora_B": "lora_up"}
    named = {}
    for name, value in load_file(family.folder / FILE).items():
        layer, factor, _ = name.removeprefix("unet.").rsplit(".", 2)
        named[f"lora_unet_{layer.replace('.', '_')}.{ends[factor]}.weight"] = value
    save_file(named, tmp_path / "own.safetensors")
    # Wider than an adapter of the default rank, which it is not.
    tables = opened(tiny_base, tmp_path / "own.safetensors", selection, cache_dim=2**14, keep_raw=True)
    table, costs = planned(tables)
    assert table["parameters"].isna().all() and costs["cache_bytes"].isna().all()
    assert table.set_index("v")["bytes_per_sample"]["64"] == 4 * 64 * 10
    assert "| ?  " in render_sizes(table, costs)
    plain = opened(tiny_base, tmp_path / "own.safetensors", selection, keep_raw=False)
    assert planned(plain)[1]["cache_bytes"].notna().all()
    entry = plan_entry(tables, tables.runs["r"]) | {"size": 16}
    found = list(examine_cost("runs.r", entry, SHIPPED, NOWHERE, Machine(2**50, 2**50)))
    assert "fault" not in {finding.status for finding in found}
    assert [finding.status for finding in found if finding.check == "disk"] == ["note"]
    whole = opened(tiny_base, tmp_path / "own.safetensors", "adapter")
    assert planned(whole)[0]["parameters"].iloc[0] == sum(value.numel() for value in named.values())
