"""The memory of jobs does not grow with the number of images that they read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import random_table
from safetensors.torch import load_file
from warm import warm_python

from dmin.data import samples
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import SampleWriter, iter_blocks, read_samples
from dmin.models.encoded import EncodedSamples
from dmin.models.spool import Spool
from dmin.runtime.errors import UserError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEW, MANY = 80, 640
# MB: the further images are 70 encoded and 110 decoded.
GROWTH = 32

CHILD = """
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, sys.argv[1])
import memory_cases
from memory_cases import CASES, Inputs, read_samples
from peak_memory import peak_extra_bytes

from dmin.attribution import image_blocks
from dmin.data.samples import iter_blocks, iter_samples
from dmin.evaluation import generation

image_blocks.BLOCK_BYTES = 4 * 20 * 256 * 256 * 3
generation.efficientnet_embeddings = lambda pixels, batch: pixels.mean((1, 2))
generation.DECODED = 12
memory_cases.SHOWN = 1
few, many = (Inputs(Path(folder)) for folder in sys.argv[2:])


def images(inputs):
    return lambda: sum(len(row["image"]["bytes"]) for row in iter_samples(inputs.train))


def blocks(inputs):
    return lambda: sum(len(block) for block in iter_blocks(inputs.train, 16))


def chosen(inputs):
    return lambda: read_samples(inputs.train, ids=[f"s/{number}" for number in range(0, 80, 8)])


readers = {"images": images, "blocks": blocks, "chosen": chosen}
readers |= {name: CASES[name] for name in ("score_samples random", "score_samples pixels", "evaluate_generation")}
Inputs.tops = property(lambda self: {"random": self.scores("random").top})
readers |= {name: CASES[name] for name in ("take_queries", "plot_methods", "explorer")}
found = {}
for name, case in readers.items():
    # Once for what is loaded once and for what allocators keep.
    case(few)()
    # Twice each: what allocators and threads keep differs from one time to the next by tens of MB.
    peaks = [[peak_extra_bytes(case(part), torch.device("cpu")) for _ in range(2)] for part in (few, many)]
    found[name] = [max(peaks[0]) / 1e6, min(peaks[1]) / 1e6]
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_of_readers_is_that_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from memory_inputs import Inputs, write_inputs

    folders = [tmp_path / str(count) for count in (FEW, MANY)]
    for folder, count in zip(folders, (FEW, MANY), strict=True):
        folder.mkdir()
        write_inputs(folder, count)
        inputs = Inputs(folder)
        inputs.train.hardlink_to(inputs.source)
        inputs.test.hardlink_to(inputs.source)
    command = [warm_python(), "-c", CHILD, str(BENCHMARKS), *map(str, folders)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 9
    assert {name: peaks for name, peaks in found.items() if peaks[1] > peaks[0] + GROWTH} == {}


def test_row_groups_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(samples, "GROUP_BYTES", 3000)
    path = tmp_path / "a.parquet"
    with SampleWriter(path, ("id", "image")) as writer:
        for number in range(200):
            image = {"bytes": bytes(1000) if number < 10 else b"x", "path": None}
            writer.append({"id": f"s/{number}", "image": None if number == 150 else image})
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [3, 3, 3, 64, 64, 63]
    assert read_samples(path)["id"].tolist() == [f"s/{number}" for number in range(200)]


@pytest.mark.parametrize("rows", [1, 7, 64, 100, 150, 1000])
def test_blocks_are_the_table(tmp_path: Path, rows: int) -> None:
    whole = random_table(tmp_path / "a.parquet", 150)
    blocks = list(iter_blocks(tmp_path / "a.parquet", rows, ["id", "image"]))
    assert {len(block) for block in blocks[:-1]} <= {rows} and 0 < len(blocks[-1]) <= rows
    joined = pd.concat(blocks, ignore_index=True)
    pd.testing.assert_frame_equal(joined, read_samples(tmp_path / "a.parquet", ["id", "image"]))
    assert joined["id"].tolist() == whole["id"].tolist()
    table = SampleRows(tmp_path / "a.parquet", ["prompt"])
    places = np.concatenate([np.arange(200)[slot] for slot, _ in table.blocks(rows, ["prompt"])])
    assert places.tolist() == list(range(len(table))) and table.ids == whole["id"].tolist()


def test_rows_of_ids_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    whole = random_table(path, 150)
    ids = ["s/149", "s/3", "s/64", "s/3"]
    chosen = read_samples(path, ids=ids)
    expected = read_samples(path).iloc[[3, 64, 149]].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen, expected)
    assert list(read_samples(path, ["prompt", "id"], ids)) == ["id", "prompt"]
    assert list(read_samples(path, ids=[])) == list(whole) and read_samples(path, ids=[]).empty
    with pytest.raises(UserError, match=r"a\.parquet' has no sample 's/150', which results name that were made from"):
        read_samples(path, ids=["s/1", "s/150"])
    with pytest.raises(UserError, match=r"a\.parquet' has no column 'mask'"):
        SampleRows(path, ["mask"])


def test_spooled_tensors_make_the_same_file(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((10, 4, 2, 2), generator=generator)
    others = {"half": latents[..., 0].half(), "brain": latents.bfloat16(), "flat": latents[:, 0, 0, 0]}
    EncodedSamples([], latents, others, {}).save(tmp_path / "a")
    with Spool(tmp_path) as spool:
        for start in range(0, 10, 3):
            for name, values in {"latents": latents, **others}.items():
                spool.add(name, values[start : start + 3])
        found = spool.tensors()
        EncodedSamples([], found.pop("latents"), found, {}).save(tmp_path / "b")
        with pytest.raises(ValueError, match="rows of 'flat' are"):
            spool.add("flat", latents)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(load_file(tmp_path / "b")["conditioning/brain"], others["brain"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
