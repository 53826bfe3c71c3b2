"""An attribution by one call: a config is written, and the workflow runs as any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dmin.opened_run import open_run
from dmin.quick_config import RUN, Question, quick_config
from dmin.runtime.atomic import atomic_path
from dmin.runtime.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "dmin.yaml"
_HEAD = "# Written by dmin attribute. Snakemake runs it too, in this folder.\n"
# The lists, the page that shows them, and none of the tables and figures about methods.
TARGETS = ("rankings", "explorers")


def attribute(
    images: str | Path,
    adapter: str | Path,
    base: str,
    queries: str | Path,
    out: str | Path,
    changes: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Rank the training images of an adapter by their influence on generated images.

    Writes ``dmin.yaml`` into ``out`` and runs the workflow there; what an earlier call has made is taken up, and only
    what changed is made again. Nothing is trained and nothing is opened.

    Args:
        images: folder of the images that the adapter was trained on, captions beside them.
        adapter: the LoRA, a safetensors file or its folder.
        base: the pipeline that it was trained on: a folder in the diffusers format, or a name on the hub.
        queries: folder of generated images, captions beside them where they are known; or a text file with a prompt on
            each line, from which images are generated.
        out: folder of everything that is made.
        changes: settings laid over those that are written, as ``{"runs": {"own": {"influence": {"top_k": 10}}}}``; the
            one data set, base, model and run are called ``own``.

    Returns:
        One row per generated image and rank: ``query, query_file, rank, sample, file, caption, score, share, p_value,
        significant, low, high``. The ``share`` is the score over the sum of the positive scores in the list of its
        query.

    Raises:
        UserError: a path leads nowhere or holds no images, the family of the base is not known, or the run failed; why
            it did stands on the terminal.
    """
    question = Question(Path(images), Path(adapter), base, Path(queries))
    write_config(quick_config(question, changes), Path(out))
    run_workflow(Path(out), TARGETS, Path(out) / CONFIG)
    return open_run(Path(out) / "results" / "runs" / RUN).ranking("dmin")


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """Write a config as YAML into a folder, and return its file.

    Raises:
        UserError: the folder has a config that was not written here.
    """
    file = folder / CONFIG
    if file.exists() and not file.read_bytes().startswith(_HEAD.encode()):
        raise UserError(f"'{file}' was not written by dmin attribute and would be replaced; name another --out.")
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    with atomic_path(file) as unfinished:
        unfinished.write_text(_HEAD + text, "utf-8")
    return file


def run_workflow(folder: Path, targets: Sequence[str], config: Path, cores: str = "all") -> None:
    """Run targets of the workflow of this checkout in a folder.

    Raises:
        UserError: this is no checkout, or Snakemake ended otherwise than well; it has said why.
    """
    if not (ROOT / "Snakefile").is_file():
        raise UserError(
            f"'{ROOT}' has no Snakefile, for dmin runs from a checkout; clone it and install it there by pip install "
            "--editable ."
        )
    arguments = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", cores]
    paths = [str(ROOT / "scripts"), *filter(None, [os.environ.get("PYTHONPATH")])]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, *targets, "--configfile", str(config.absolute())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    if result.returncode:
        raise UserError(f"The run in '{folder}' failed; mend what it said and call again: finished work is kept.")
