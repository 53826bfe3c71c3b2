"""Published gradients: fabricated downloads of the published layout, imported without running what they hold."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import compress_shards
from schema_defaults import lists, options

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score import score
from dmin.data.samples import write_samples
from dmin.gradients.published import PublishedGradients, import_published, main
from dmin.gradients.shard import open_shards
from dmin.gradients.sketches.fold import fold
from dmin.runtime.errors import UserError

WIDTH, STEPS, PARAMETERS = 64, 3, 4096
NEED_NO_NORMS = {
    "dmin", "dmin_renorm", "dmin_kernel", "dmin_weighted", "retrac_final", "dmin_scaled", "dmin_query_scaled",
    "dmin_kernel_scaled", "dtrak_unit_scaled", "dmin_scaled_shrunk", "ekfac",
}  # fmt: skip
# They read a cache of something else than the loss, which nobody has published.
OTHER_FEATURES = {"das", "datainf", "dtrak", "dtrak_unit", "journey_trak", "lissa", "lissa_gram", "weighted_tensors"}
ON_LOSS = [name for name, method in METHODS.items() if method.inputs == "gradients" and name not in OTHER_FEATURES]


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def unit_rows(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, STEPS, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def write_download(folder: Path, rows: np.ndarray) -> PublishedGradients:
    """Write the published layout: one file per sample, and two pickles that must not be opened."""
    (folder / f"K{WIDTH}").mkdir(parents=True)
    for number, row in enumerate(rows):
        torch.save(torch.from_numpy(row.copy()), folder / f"K{WIDTH}" / f"loss_grad_{number:08d}.pt")
    for name in (f"DimReducer_D{PARAMETERS}.obj", "noise.pkl"):
        (folder / name).write_bytes(pickle.dumps(Trap(folder / "opened")))
    return PublishedGradients(folder, WIDTH, STEPS)


@pytest.fixture
def download(tmp_path: Path) -> PublishedGradients:
    return write_download(tmp_path / "download", unit_rows(5))


def ids(count: int, prefix: str = "mixed") -> list[str]:
    return [f"{prefix}/{number}" for number in range(count)]


def test_shards_hold_the_published_tensors(download: PublishedGradients, tmp_path: Path) -> None:
    paths = import_published(download, ids(5), "lora", tmp_path / "shards", shard_size=2)
    assert [path.name for path in paths] == [
        "00000000-00000002.safetensors", "00000002-00000004.safetensors", "00000004-00000005.safetensors",
    ]  # fmt: skip
    shards = open_shards(paths)
    assert [sample for shard in shards for sample in shard.ids] == ids(5)
    stored = np.concatenate([shard.read("sketch") for shard in shards])
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, unit_rows(5), atol=5e-4)
    assert np.isnan(np.concatenate([shard.read("norm") for shard in shards])).all()
    metadata = shards[0].metadata
    assert (metadata["P"], metadata["sketch_kind"], metadata["objective"]) == (PARAMETERS, "published", "reference")
    assert metadata["timesteps"] == [999, 962, 703]


def test_pickles_are_never_opened(download: PublishedGradients, tmp_path: Path) -> None:
    import_published(download, ids(5), "lora", tmp_path / "shards")
    assert not (download.folder / "opened").exists()
    # The trap works: whoever unpickles the reducer springs it.
    pickle.loads((download.folder / "noise.pkl").read_bytes())
    assert (download.folder / "opened").exists()


def test_imported_gradients_are_compressed_and_scored(download: PublishedGradients, tmp_path: Path) -> None:
    queries = write_download(tmp_path / "queries", unit_rows(2, seed=1))
    shards = {
        "train": import_published(download, ids(5), "lora", tmp_path / "train", shard_size=2),
        "queries": import_published(queries, ids(2, "query"), "lora", tmp_path / "query"),
    }
    sketch = {split: compress_shards(paths, 16, tmp_path / f"{split}.npy") for split, paths in shards.items()}
    tables = [tmp_path / "train.parquet", tmp_path / "queries.parquet"]
    for path, names in zip(tables, (ids(5), ids(2, "query")), strict=True):
        write_samples(pd.DataFrame({"id": names, "subset": "a"}), path)
    out = [tmp_path / name for name in ("scores.npy", "scores.json", "top.parquet", "metrics.json")]
    sides = GradientSides(*(GradientFiles(shards[side], sketch[side]) for side in ("queries", "train")))
    score("dmin", sides, SampleTables(tables[1], tables[0]), options(), lists(top_k=3), ScoreFiles(*out))
    left, right = (fold(torch.from_numpy(rows).numpy(), 16) for rows in (unit_rows(2, seed=1), unit_rows(5)))
    np.testing.assert_allclose(np.load(out[0]), np.einsum("qtv,itv->qi", left, right), atol=5e-3)
    assert json.loads(out[1].read_text())["sketch_kind"] == "published"


@pytest.mark.parametrize("name", ON_LOSS)
def test_methods_that_need_norms_refuse(name: str, download: PublishedGradients, tmp_path: Path) -> None:
    shards = import_published(download, ids(5), "lora", tmp_path / "shards")
    rows = GradientRows(shards, compress_shards(shards, WIDTH, tmp_path / "train.npy"))
    if name in NEED_NO_NORMS:
        subsets = {sample: "ab"[place % 2] for place, sample in enumerate(ids(5))}
        assert np.isfinite(METHODS[name].run(rows, rows, options(), subsets)[0]).all()
    else:
        with pytest.raises(UserError, match=r"have no norms, .* such as dmin"):
            METHODS[name].scores(rows, rows, options())


def replace(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.write_bytes(pickle.dumps(Trap(path.parent / "sprung"), 2)), "holds more than a tensor"),
        (lambda path: torch.save(Trap(path.parent / "sprung"), path), "holds more than a tensor"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "torn"),
        (lambda path: path.write_bytes(b""), "torn"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x" * 2**17), "more than one tensor of 3 x 64"),
        (replace({"gradient": torch.zeros(STEPS, WIDTH)}), "holds a dict and not one float32 tensor"),
        (replace([torch.zeros(STEPS, WIDTH)]), "holds a list"),
        (replace(torch.zeros(STEPS, WIDTH, dtype=torch.float64)), "holds a torch.float64 tensor"),
        (replace(torch.zeros(STEPS, WIDTH, dtype=torch.int32)), "holds a torch.int32 tensor"),
        (replace(torch.eye(STEPS, WIDTH).to_sparse()), "not one float32 tensor"),
        (replace(torch.nn.Parameter(torch.eye(STEPS, WIDTH))), "holds a torch.float32 tensor and not one"),
        (replace(torch.eye(WIDTH)[:STEPS, :-1].clone()), r"shape \[3, 63\] and not \[3, 64\]"),
        (replace(torch.ones(STEPS * WIDTH)), "shape"),
        (replace(torch.zeros(STEPS, WIDTH)), "length 0, so these are not compressed unit gradients"),
        (replace(40 * torch.eye(STEPS, WIDTH)), "length 40"),
        (replace(torch.full((STEPS, WIDTH), torch.nan)), "length nan"),
    ],
)
def test_anything_but_one_tensor_is_refused_by_name(
    spoil: Callable[[Path], None], sentence: str, download: PublishedGradients, tmp_path: Path
) -> None:
    path = download.folder / f"K{WIDTH}" / "loss_grad_00000003.pt"
    spoil(path)
    with pytest.raises(UserError, match=rf"loss_grad_00000003\.pt' .*{sentence}"):
        import_published(download, ids(5), "lora", tmp_path / "shards")
    assert not (path.parent / "sprung").exists()
    assert not (tmp_path / "shards").exists()


def _remove(download: PublishedGradients, name: str) -> None:
    (download.folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: _remove(d, f"K{WIDTH}/loss_grad_00000002.pt"), r"loss_grad_00000002\.pt' is missing; download it"),
        (lambda d: (d.folder / f"K{WIDTH}" / "noise.pkl").touch(), r"noise\.pkl' is no published gradient"),
        (lambda d: (d.folder / f"K{WIDTH}" / "loss_grad_6.pt").touch(), r"loss_grad_6\.pt' is no published gradient"),
        (lambda d: shutil.rmtree(d.folder / f"K{WIDTH}"), r"K64' does not exist; download"),
        (lambda d: [_remove(d, f"K{WIDTH}/loss_grad_{n:08d}.pt") for n in range(5)], r"K64' is empty"),
        (lambda d: _remove(d, f"K{WIDTH}/loss_grad_00000004.pt"), "has 4 gradients for 5 samples"),
        (lambda d: _remove(d, f"DimReducer_D{PARAMETERS}.obj"), "has 0 files named DimReducer_D"),
        (lambda d: (d.folder / "DimReducer_D1.obj").touch(), "has 2 files named DimReducer_D"),
    ],
)
def test_downloads_that_are_not_whole_are_refused(
    spoil: Callable[[PublishedGradients], Any], sentence: str, download: PublishedGradients, tmp_path: Path
) -> None:
    spoil(download)
    with pytest.raises(UserError, match=sentence):
        import_published(download, ids(5), "lora", tmp_path / "shards")


def test_own_sketches_are_not_compared_with_published_ones(download: PublishedGradients, tmp_path: Path) -> None:
    shards = import_published(download, ids(5), "lora", tmp_path / "shards")
    other = import_published(download, ids(5), "another", tmp_path / "other")
    rows = [
        GradientRows(paths, compress_shards(paths, WIDTH, paths[0].with_suffix(".npy"))) for paths in (shards, other)
    ]
    with pytest.raises(UserError, match="differ in model"):
        METHODS["dmin"].scores(rows[0], rows[1], options())


def test_command_imports_and_tells_mistakes(
    download: PublishedGradients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tmp_path / "train.parquet"
    write_samples(pd.DataFrame({"id": ids(5), "subset": "a"}), samples)
    arguments = [str(download.folder), "--samples", str(samples), "--model", "lora", "--out", str(tmp_path / "shards")]
    assert main([*arguments, "--width", str(WIDTH), "--timesteps", str(STEPS)]) == 0
    assert open_shards(sorted((tmp_path / "shards").iterdir()))[0].ids == ids(5)
    assert main(arguments) == 1
    assert "K65536' does not exist" in capsys.readouterr().err
