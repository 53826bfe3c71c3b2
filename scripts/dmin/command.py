"""The command ``dmin``: an attribution without a config file, and the examination of one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dmin.api import CONFIG, TARGETS, run_workflow, write_config
from dmin.opened_run import open_run
from dmin.quick_config import RUN, Question, laid_over, quick_config
from dmin.runtime.errors import UserError, printable
from dmin.settings.strict_yaml import read_config_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 with a sentence on the terminal."""
    asked = parser().parse_args(arguments)
    try:
        return attribute(asked) if asked.command == "attribute" else doctor(asked)
    except UserError as error:
        sys.stderr.write(f"Error: {printable(str(error))}\n")
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = argparse.ArgumentParser("dmin", description="Which training images shaped a generated image?")
    commands = whole.add_subparsers(dest="command", required=True)
    asked = commands.add_parser("attribute", help="rank the training images of an adapter for generated images")
    asked.add_argument("--images", required=True, type=Path, metavar="FOLDER", help="the images it was trained on")
    asked.add_argument("--adapter", required=True, type=Path, metavar="FILE", help="the LoRA, or its folder")
    asked.add_argument("--base", required=True, metavar="NAME", help="its pipeline: a folder, or a name on the hub")
    asked.add_argument(
        "--queries", required=True, type=Path, metavar="FOLDER", help="generated images, or a text file of prompts"
    )
    asked.add_argument("--out", required=True, type=Path, metavar="DIR", help="where everything goes")
    asked.add_argument("--config", type=Path, metavar="FILE", help="settings laid over those that are written")
    asked.add_argument(
        "--bucket-step", type=int, metavar="PX", help="keep shapes in aspect-ratio buckets, 64 in most trainers"
    )
    asked.add_argument("--cores", default="all", metavar="N", help="CPU cores (default: all)")
    examined = commands.add_parser("doctor", help="say all that a config would be refused for, and what it takes")
    examined.add_argument("config", type=Path, metavar="FILE", help="the config")
    examined.add_argument("--cores", default="1", metavar="N", help="CPU cores (default: 1)")
    return whole


def attribute(asked: argparse.Namespace) -> int:
    """Write the config, run the workflow, and say where the answer is."""
    changes: dict[str, Any] = {}
    if asked.config is not None:
        if not asked.config.is_file():
            raise UserError(f"--config is '{asked.config}', which does not exist; correct it.")
        changes = read_config_file(asked.config)
    question = Question(asked.images, asked.adapter, asked.base, asked.queries)
    config = quick_config(question, changes)
    if asked.bucket_step is not None:
        config = laid_over(config, {"datasets": {RUN: {"bucket_step": asked.bucket_step}}})
    file = write_config(config, asked.out)
    run_workflow(asked.out, TARGETS, file, asked.cores)
    run = open_run(asked.out / "results" / "runs" / RUN)
    sys.stdout.write(f"{run.ranking_file('dmin')}\n{run.page}\n")
    return 0


def doctor(asked: argparse.Namespace) -> int:
    """Examine a config where its paths are relative to, and return 1 where something is to be mended."""
    if not asked.config.is_file():
        raise UserError(f"'{asked.config}' does not exist; name a config file, such as {CONFIG}.")
    run_workflow(Path(), ("doctor",), asked.config, asked.cores)
    report = json.loads(Path("results/doctor/report.json").read_text(encoding="utf-8"))
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
