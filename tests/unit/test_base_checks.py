"""What a base is, as the config and the names of its files tell: refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_config import PROJECT, config

from dmin.runtime.errors import UserError
from dmin.workflow.tables import read_tables


def check(finetune: str = "adapter", **base: Any) -> None:
    """Read a config with this base."""
    given = config(["dmin"])
    given["bases"]["b"] |= base
    given["models"]["m"]["finetune"] = finetune
    read_tables(given, PROJECT)


def pipeline(folder: Path, name: str) -> str:
    """Write the index of a pipeline of a class."""
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "family", "sentence"),
    [
        ("FluxPipeline", "stable_diffusion", "is a FluxPipeline, and family is stable_diffusion; set family to flux"),
        ("StableDiffusionXLPipeline", "stable_diffusion", "set family to stable_diffusion_xl"),
        ("StableDiffusionPipeline", "flux", "set family to stable_diffusion"),
        ("Flux2Pipeline", "flux2", "is a Flux2Pipeline, FLUX.2 dev, .* Mistral, no family reads; take FLUX.2 klein"),
        *(
            pytest.param(name, "flux", f"is a {name}, a video model, which no family takes", id=name)
            for name in ("WanPipeline", "LTXPipeline", "HunyuanVideoPipeline", "CogVideoXPipeline")
        ),
    ],
)
def test_pipeline_of_another_family_is_named(tmp_path: Path, name: str, family: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check(path=pipeline(tmp_path / "base", name), family=family)


def test_pipelines_that_a_family_may_read_stay(tmp_path: Path) -> None:
    check(path=pipeline(tmp_path / "own", "FluxPipeline"), family="flux")
    check(path=pipeline(tmp_path / "other", "StableDiffusionImg2ImgPipeline"), family="stable_diffusion")
    check(path=pipeline(tmp_path / "fill", "FluxFillPipeline"), family="flux")


@pytest.mark.parametrize("suffix", ["gguf", "ckpt", "bin", "pt"])
@pytest.mark.attack("model", "a single-file base in GGUF or a pickle", "refused by the dry run; never opened")
def test_single_files_are_safetensors(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model.{suffix}"
    file.write_bytes(b"x")
    with pytest.raises(
        UserError, match=rf"path is '.*model\.{suffix}', and of single files only \.safetensors are read"
    ):
        check(path=str(file), family="flux")


def test_single_file_needs_configs_and_a_folder_none(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"one file without configs and tokenizers; set bases\.b\.config to a pipeline"):
        check(path=str(file), family="flux")
    check(path=str(file), family="flux", config="owner/name")
    with pytest.raises(UserError, match=r"bases\.b\.config is '/none', which does not exist"):
        check(path=str(file), family="flux", config="/none")
    with pytest.raises(UserError, match=r"bases\.b\.config is set, but path is no single file"):
        check(path=pipeline(tmp_path / "base", "FluxPipeline"), family="flux", config="owner/name")


def test_guidance_and_half_weights_are_for_those_that_have_them() -> None:
    check(family="flux", guidance=1.0, precision="bfloat16")
    with pytest.raises(UserError, match=r"bases\.b\.guidance is set, which only flux has"):
        check(family="stable_diffusion", guidance=1.0)
    with pytest.raises(UserError, match=r"finetune is full, which trains every weight, and bases\.b\.precision keeps"):
        check("full", precision="bfloat16")
