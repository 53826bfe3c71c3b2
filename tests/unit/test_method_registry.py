"""The list of methods."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dmin.attribution import settings
from dmin.attribution.registry import METHODS, find_method
from dmin.runtime.errors import UserError

ROOT = Path(__file__).parents[2]


def test_every_method_is_there_once() -> None:
    expected = {
        "nothing": {"random"},
        "checkpoints": {"tracin", "retrac"},
        "samples": {"pixels", "ssim", "clip", "text"},
        "gradients": {
            "dmin", "dmin_no_norm", "dmin_renorm", "dmin_centred", "dmin_kernel", "grad_dot", "grad_cos",
            "tracin_final", "retrac_final", "trak", "relative_if", "renormalised_if", "dmin_weighted",
            "dtrak", "dtrak_unit", "journey_trak", "datainf", "lissa_gram", "lissa",
        },
    }  # fmt: skip
    for inputs, names in expected.items():
        assert {name for name, method in METHODS.items() if method.inputs == inputs} == names
    assert all(name == method.name for name, method in METHODS.items())


def test_every_method_is_documented() -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in METHODS if f"| `{name}` |" not in text] == []


def test_unknown_method_is_refused() -> None:
    with pytest.raises(UserError, match=r"Method 'dmin2' is unknown; choose one of clip, datainf, .*, trak\."):
        find_method("dmin2")


def test_registry_loads_no_library() -> None:
    code = "import sys, dmin.attribution.registry; print({'numpy', 'pandas', 'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "scripts"
    )
    assert done.stdout.strip() == "set()"


def test_facts_name_what_scores_depend_on() -> None:
    facts = {name: method.facts({}) for name, method in METHODS.items()}
    assert facts["dmin"] == {} and facts["trak"] == {"relative_lambda": 0.1} and facts["random"] == {"seed": 42}
    assert facts["retrac_final"] == {"train_timestep": "mean"}
    one = METHODS["tracin_final"].facts({"train_timestep": "one", "seed": 1})
    assert one == {"train_timestep": "one", "seed": 1}


def test_encoders_are_named_as_what_they_are() -> None:
    assert settings.encoder_name({"encoder": "efficientnet"}) == "EfficientNet-Lite0 (not CLIP)"
    assert settings.encoder_name({}) == "CLIP openai/clip-vit-base-patch32"
    assert settings.encoder_name({"encoder": "a/b", "revision": "c"}) == "CLIP a/b@c"
