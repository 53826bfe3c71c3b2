"""The Python example of README, as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from fabricated import compress_shards, write_gradients
from finished_run import write_run
from PIL import Image
from tiny_pipeline import SIZE, build_adapter, build_base

import dmin.api as api
from dmin.command import parser
from dmin.workflow.tables import read_tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def python_blocks() -> list[str]:
    """Return the Python blocks of README."""
    return re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_example_ranks_the_sample_that_a_query_is_like_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    train = generator.normal(size=(7, 3, 4200))
    queries = train[[4, 1]] + 0.3 * generator.normal(size=(2, 3, 4200))
    run = tmp_path / "results" / "runs" / "example"
    for split, gradients in (("train", train), ("queries", queries)):
        shard = run / "gradients" / "loss" / split / "00000000-00000007.safetensors"
        sketch = run / "sketch" / "loss" / "v4096" / f"{split}.npy"
        shard.parent.mkdir(parents=True)
        sketch.parent.mkdir(parents=True, exist_ok=True)
        ids = [f"{split}/{number}" for number in range(len(gradients))]
        compress_shards([write_gradients(shard, ids, gradients, cache_dim=4096)], 4096, sketch)
    monkeypatch.chdir(tmp_path)
    _, example = python_blocks()
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    exec(compile(example, "README.md", "exec"), {})
    printed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert [query for query, _ in printed] == ["queries/0", "queries/1"]
    assert printed[0][1].startswith("['train/4', ") and printed[1][1].startswith("['train/1', ")
    assert all(found.count("train/") == 5 for _, found in printed)


def test_quickstart_in_python_gives_the_table_the_page_and_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    build_adapter(build_base(tmp_path / "stable-diffusion-v1-5"), tmp_path / "adapter")
    (tmp_path / "adapter" / "pytorch_lora_weights.safetensors").rename("my_lora.safetensors")
    for name in ("pictures", "generated"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (SIZE, SIZE)).save(tmp_path / name / "made.png")
    asked: list[Path] = []

    def run(folder: Path, targets: Sequence[str], config: Path) -> None:
        asked.append(config)
        read_tables(yaml.safe_load(config.read_text()), ROOT)
        write_run(folder, rankings=True)

    monkeypatch.setattr(api, "run_workflow", run)
    example, _ = python_blocks()
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    exec(compile(example, "README.md", "exec"), {})
    assert asked == [Path("answer") / api.CONFIG] and Image.open("first.png").size[0] >= 1000
    printed = capsys.readouterr().out
    assert "made.png" in printed and f"{Path('answer/results/runs/own/explorer.html')} (1, 2)" in printed


def test_quickstart_is_short_and_its_flags_are_those_of_the_command() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (quickstart,) = [block for block in blocks if "dmin attribute" in block]
    assert len(quickstart.splitlines()) <= 10
    commands = [shlex.split(line) for line in quickstart.replace("\\\n", " ").splitlines() if line.startswith("dmin ")]
    asked = {words[1]: parser().parse_args(words[1:]) for words in commands}
    assert asked["attribute"].queries == Path("generated") and asked["doctor"].config == Path("answer") / api.CONFIG


def test_pictures_are_there_small_and_described() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((.+?)\)", README)
    assert "docs/images/explorer.png" in [path for _, path in pictures]
    for words, path in pictures:
        assert words and (ROOT / path).stat().st_size < 200_000
        assert Image.open(ROOT / path).size[0] >= 1000


def test_links_to_files_lead_somewhere() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\((.+?)\)", README) if "://" not in link]
    assert len(links) > 10 and [link for link in links if not (ROOT / link).exists()] == []
