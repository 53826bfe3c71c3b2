"""The catalogue of methods against their files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import write_gradients
from PIL import Image
from schema_defaults import SCHEMA, options

from dmin.attribution import settings
from dmin.attribution.checkpoints import Checkpoint
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS, Method, find_method
from dmin.catalogue.methods import CACHES, CURVED_CACHE, INDEXABLE, OUTPUT_CACHES, SCALED_CACHES
from dmin.data.images import encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import write_samples
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

ROOT = Path(__file__).parents[2]
FILES = ROOT / "scripts" / "dmin" / "attribution" / "methods"


def test_every_file_of_the_folder_is_a_method() -> None:
    assert list(METHODS) == sorted(path.stem for path in FILES.glob("[a-z]*.py"))
    assert all(name == method.name for name, method in METHODS.items())


def test_methods_that_people_rely_on_are_there() -> None:
    expected = {
        "nothing": {"random"},
        "checkpoints": {"tracin", "retrac"},
        "scores": {"dmin_scaled_pixels"},
        "taught": {"student"},
        "samples": {"pixels", "ssim", "clip", "text", "nda"},
        "gradients": {
            "dmin", "dmin_no_norm", "dmin_renorm", "dmin_centred", "dmin_kernel", "grad_dot", "grad_cos",
            "tracin_final", "retrac_final", "trak", "relative_if", "renormalised_if", "dmin_weighted",
            "dtrak", "dtrak_unit", "journey_trak", "datainf", "lissa_gram", "lissa", "das",
        },
    }  # fmt: skip
    for inputs, names in expected.items():
        assert names <= {name for name, method in METHODS.items() if method.inputs == inputs}


def test_every_method_is_documented() -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in METHODS if f"| `{name}` |" not in text] == []


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_says_what_tables_and_figures_need(name: str) -> None:
    entry = METHODS[name].entry
    assert all((entry.summary, entry.score, entry.range, entry.label, entry.look))
    assert entry.kernel == (METHODS[name].ridge is not None)
    assert not entry.kernel or "relative_lambda" in entry.options
    known = SCHEMA["$defs"]["run"]["properties"]["influence"]["properties"]["options"]["properties"]
    assert set(entry.options) <= set(known)


def test_caches_are_those_that_some_pass_makes() -> None:
    made = {"loss", *OUTPUT_CACHES, "loss_blocks", "journey", "lissa", CURVED_CACHE, *SCALED_CACHES}
    assert set(CACHES) <= made
    assert [METHODS[name].entry.caches for name in INDEXABLE] == [("loss", "loss"), ("loss_scaled", "loss_scaled")]


class Recorded(dict[str, Any]):
    """Options that know which of them were read."""

    def __init__(self, values: Any) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def score_anything(method: Method, given: Any, folder: Path) -> Any:
    """Score a few random samples, whatever the method reads."""
    generator = np.random.default_rng(0)
    sides: list[Any] = []
    for side, count in (("q", 4), ("t", 24)):
        ids = [f"{side}/{number}" for number in range(count)]
        if method.inputs in ("nothing", "samples", "taught"):
            pixels = generator.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
            images = [{"bytes": encode_png(Image.fromarray(image)), "path": None} for image in pixels]
            table = folder / f"{side}.parquet"
            folder.mkdir(parents=True, exist_ok=True)
            write_samples(pd.DataFrame({"id": ids, "subset": "a", "prompt": "a word", "image": images}), table)
            sides.append(SampleRows(table))
        if method.inputs in ("nothing", "samples"):
            continue
        values = generator.standard_normal((count, 3, 48))
        path = write_gradients(folder / f"{side}.safetensors", ids, values, blocks=[["weight", 0, 48, 48]])
        sides.append(GradientRows([path], None))
    if method.inputs == "checkpoints":
        return method.scores([Checkpoint(*sides, 0.5)])
    if method.inputs == "scores":
        return method.scores([generator.standard_normal((4, 24)) for _ in method.entry.parts])
    if method.inputs == "taught":
        asked, _, train, teacher = sides
        return method.scores(asked, train, teacher, given, Pace("cpu", 4))[0]
    subsets = {name: "ab"[place % 2] for side in sides for place, name in enumerate(getattr(side, "ids", []))}
    return method.run(*sides, given, subsets, Pace("cpu", 4))[0]


@pytest.mark.parametrize("name", METHODS)
def test_an_entry_names_the_options_that_scores_depend_on(name: str, tmp_path: Path) -> None:
    method, read = METHODS[name], set()
    for change in ({}, {"train_timestep": "one"}):
        given = Recorded(options(**change))
        scores = score_anything(method, given, tmp_path)
        assert scores.shape == (4, 24) and scores.dtype == np.float32
        read |= given.read
    assert read == set(method.entry.options)


def test_unknown_method_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"Method 'dmin2' is unknown; choose one of clip, das, datainf, .*, weighted_tensors\."
    ):
        find_method("dmin2")


def test_registry_loads_no_library() -> None:
    code = "import sys, dmin.attribution.registry; print({'numpy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "scripts"
    )
    assert done.stdout.strip() == "set()"


def test_facts_name_what_scores_depend_on() -> None:
    facts = {name: method.facts(options()) for name, method in METHODS.items()}
    assert facts["dmin"] == {} and facts["trak"] == {"relative_lambda": 0.1} and facts["random"] == {"seed": 42}
    assert facts["retrac_final"] == {"train_timestep": "mean"}
    assert facts["lissa_gram"] == {"damping": 0.1, "lissa_iterations": 10, "lissa_alpha": "auto"}
    assert facts["clip"] == {"encoder": "EfficientNet-Lite0 (not CLIP)"}
    one = METHODS["tracin_final"].facts(options(train_timestep="one", seed=1))
    assert one == {"train_timestep": "one", "seed": 1}


def test_encoders_are_named_as_what_they_are() -> None:
    assert settings.encoder_name("efficientnet") == "EfficientNet-Lite0 (not CLIP)"
    assert settings.encoder_name("openai/clip-vit-large-patch14") == "CLIP openai/clip-vit-large-patch14"
    assert settings.encoder_name("a/b", "c") == "CLIP a/b@c"
