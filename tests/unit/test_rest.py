"""Results at rest: a flipped bit anywhere in a file of any kind, or another file in its place, is never believed."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rest_files import KINDS, unread
from safetensors.torch import save_file
from tiny_pipeline import random_samples

from dmin.data.samples import read_samples
from dmin.models.encoded import EncodedSamples
from dmin.models.queries.trajectory import Trajectory
from dmin.models.training.checkpoints import read_checkpoints
from dmin.retrieval.hnsw import Construction, IndexFiles, build_index
from dmin.runtime.atomic import write_json
from dmin.runtime.digests import are_described, describe_weights
from dmin.runtime.errors import UserError
from dmin.runtime.parquet import read_parquet
from dmin.runtime.readers import read_csv, read_json
from dmin.verify.folders import check_folder

GROUPS = ("conditioning", "unconditional")
SEED = 20
REGIONS = 24
PER_REGION = 4


def _flips(data: bytes) -> list[bytes]:
    """Return copies of a file with one bit flipped: some in each region, and in each of its first and last bytes."""
    generator = np.random.default_rng(SEED)
    edges = np.linspace(0, len(data), REGIONS + 1).astype(int)
    inner = [generator.integers(low, max(high, low + 1), PER_REGION) for low, high in pairwise(edges)]
    places = sorted({*np.concatenate(inner).tolist(), *range(16), *range(len(data) - 16, len(data))})
    copies = []
    for place in places:
        copy = bytearray(data)
        copy[place] ^= 1 << int(generator.integers(8))
        copies.append(bytes(copy))
    return copies


def _verified(folder: Path) -> set[str]:
    return {status for _, status, _ in check_folder(folder.parent, folder.name, set())}


def _meaning(data: bytes, path: Path) -> Any:
    """Return what a file says, where bytes that say the same are the same file."""
    try:
        return json.loads(data) if path.suffix == ".json" else data
    except ValueError:
        return data


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "samples",
            marks=pytest.mark.attack(
                "rest", "bits flipped in a table of samples", "refused when it is read, or by `verify`"
            ),
        ),
        pytest.param(
            "ranked",
            marks=pytest.mark.attack(
                "rest", "bits flipped in ranked lists", "refused when they are read, or by `verify`"
            ),
        ),
        pytest.param(
            "scores", marks=pytest.mark.attack("rest", "bits flipped in scores", "refused when they are read")
        ),
        pytest.param(
            "score ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of scores", "refused when they are read"),
        ),
        "sketch",
        "index",
        pytest.param(
            "index ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of an index", "refused when they are read"),
        ),
        pytest.param(
            "sketch ids",
            marks=pytest.mark.attack("rest", "bits flipped in the ids of a sketch", "refused when they are read"),
        ),
        pytest.param(
            "encoded",
            marks=pytest.mark.attack(
                "rest", "bits flipped in encoded samples or queries", "refused when they are read, or by `verify`"
            ),
        ),
        pytest.param(
            "trajectory", marks=pytest.mark.attack("rest", "bits flipped in a trajectory", "refused when it is read")
        ),
        "shard",
        pytest.param(
            "weights", marks=pytest.mark.attack("rest", "bits flipped in weights", "refused when they are loaded")
        ),
        pytest.param(
            "model",
            marks=pytest.mark.attack(
                "rest", "bits flipped in the description of weights", "refused when they are loaded"
            ),
        ),
        pytest.param(
            "table",
            marks=pytest.mark.attack(
                "rest", "bits flipped in a table of results", "refused before it is drawn or joined"
            ),
        ),
        pytest.param("svg", marks=pytest.mark.attack("rest", "bits flipped in a figure", "found by `verify`")),
        "png",
        pytest.param("page", marks=pytest.mark.attack("rest", "bits flipped in the explorer", "found by `verify`")),
    ],
)
def test_flipped_bits_are_never_believed(name: str, tmp_path: Path) -> None:
    kind, folder = KINDS[name], tmp_path / "results"
    folder.mkdir()
    path = kind.make(folder)
    damaged = kind.damaged(path)
    whole, data = kind.read(path), damaged.read_bytes()
    assert _verified(folder) == {"ok"}
    believed, unseen = [], []
    for number, flipped in enumerate(_flips(data)):
        damaged.write_bytes(flipped)
        try:
            if kind.read is not unread and kind.read(path) != whole:
                believed.append(number)
        except UserError as error:
            assert "\n" not in str(error)
        if _verified(folder) == {"ok"} and _meaning(flipped, damaged) != _meaning(data, damaged):
            unseen.append(number)
    assert (believed, unseen) == ([], [])


def _swapped(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """Make two files of a kind, each in a folder of its own."""
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    return KINDS[name].make(folders[0]), KINDS[name].make(folders[1])


@pytest.mark.attack("rest", "a whole score matrix of another run in place of one", "refused when it is read")
def test_swapped_scores_are_refused(tmp_path: Path) -> None:
    scores, other = _swapped(tmp_path, "scores")
    np.save(other, np.load(other) + 1)
    shutil.copy(other, scores)
    with pytest.raises(UserError, match=r"scores\.npy' is torn \(it fails its checksum\)"):
        KINDS["scores"].read(scores)


@pytest.mark.attack("rest", "ids of other scores under a matrix", "refused when they are read")
def test_swapped_ids_are_refused(tmp_path: Path) -> None:
    scores, other = _swapped(tmp_path, "scores")
    facts = read_json(other.with_suffix(".json"))
    facts["train"] = facts["train"][::-1]
    facts["provenance"]["sha256"]["scores"] = "0" * 64
    write_json(facts, scores.with_suffix(".json"))
    with pytest.raises(UserError, match=r"scores\.npy' is torn"):
        KINDS["scores"].read(scores)


@pytest.mark.attack("rest", "an id edited by hand in the description of scores", "refused when it is read")
def test_edited_ids_are_refused(tmp_path: Path) -> None:
    path = KINDS["scores"].make(tmp_path).with_suffix(".json")
    path.write_text(path.read_text().replace("red/7", "red/8"))
    with pytest.raises(UserError, match=r"scores\.json' is torn \(it fails its checksum\); delete it and run again"):
        KINDS["scores"].read(path.with_suffix(".npy"))


@pytest.mark.attack("rest", "a whole index of another width or seed in place of one", "refused when it is searched")
def test_swapped_index_is_refused(tmp_path: Path) -> None:
    index = KINDS["index"].make(tmp_path)
    other = tmp_path / "other.hnsw"
    build_index(tmp_path / "train.npy", Construction(4, 20, 2), IndexFiles(other, tmp_path / "o.json", tmp_path / "m"))
    shutil.copy(other, index)
    with pytest.raises(UserError, match=r"Index '.*index\.hnsw' is torn \(it fails its checksum\)"):
        KINDS["index"].read(index)


@pytest.mark.attack("rest", "parquet, JSON, CSV or tensors cut off or emptied", "one sentence wherever they are read")
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.read is not unread])
def test_torn_files_are_one_sentence(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = kind.make(tmp_path)
    damaged = kind.damaged(path)
    data = damaged.read_bytes()
    for keep in (0, 1, 11, len(data) // 2, len(data) - 1):
        # The last byte of a JSON file ends its last line.
        if not (damaged.suffix == ".json" and keep == len(data) - 1):
            damaged.write_bytes(data[:keep])
            with pytest.raises(UserError) as error:
                kind.read(path)
            assert "\n" not in str(error.value)


@pytest.mark.attack("rest", "a changed scheduler in a trained pipeline", "found when it is loaded and by `verify`")
def test_settings_of_a_pipeline_belong_to_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    for name in ("unet", "scheduler"):
        (folder / name).mkdir(parents=True)
    save_file({"a": torch.zeros(3)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text("{}")
    settings = folder / "scheduler" / "scheduler_config.json"
    settings.write_text('{"num_train_timesteps": 1000}')
    facts = describe_weights(folder)
    write_json(facts, tmp_path / "model.json")
    assert are_described(folder, facts) and are_described(folder, {"weights": facts["weights"]})
    settings.write_text('{"num_train_timesteps": 1001}')
    assert not are_described(folder, facts)
    rows = list(check_folder(tmp_path.parent, tmp_path.name, set()))
    assert [row[:2] for row in rows] == [(f"{tmp_path.name}/model.json", "torn")]


@pytest.mark.attack("rest", "a bit flipped in the weights of a retraining", "`verify` names them and their description")
def test_flipped_weights_are_torn_as_their_description_is(tmp_path: Path) -> None:
    weights = KINDS["weights"].make(tmp_path)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    found = {Path(file).name: row for file, *row in check_folder(tmp_path.parent, tmp_path.name, set())}
    assert found[weights.name] == ["torn", "it is not what 'model.json' beside it describes"]
    assert found["model.json"] == ["torn", f"'{weights.name}' beside it is not what it describes"]
    # A description that does not speak of them describes none.
    write_json({"samples": "0"}, tmp_path / "model.json")
    found = {Path(file).name: row for file, *row in check_folder(tmp_path.parent, tmp_path.name, set())}
    assert found[weights.name] == ["ok", "it has no checksum"] and found["model.json"][0] == "ok"


def test_files_from_before_checksums_are_read(tmp_path: Path) -> None:
    """Each kind as it was written before it had a checksum."""
    frame = pd.DataFrame({"id": ["red/1"], "subset": ["red"]})
    frame.to_parquet(tmp_path / "top.parquet", index=False)
    frame.to_csv(tmp_path / "rates.csv", index=False)
    (tmp_path / "scores.json").write_text(json.dumps({"train": ["red/1"], "fingerprint": "0" * 64}))
    (tmp_path / "checkpoints.json").write_text(json.dumps([{"step": 3}]))
    samples = random_samples(5)
    tensors = {"latents": samples.latents, "truncated": torch.tensor(0)}
    tensors |= {f"{group}/prompt_embeds": getattr(samples, group)["prompt_embeds"] for group in GROUPS}
    save_file(tensors, tmp_path / "train.safetensors", metadata={"ids": json.dumps(samples.ids)})
    facts = {"ids": samples.ids, "timesteps": [9]}
    clean = {"clean": samples.latents[:, None].contiguous()}
    save_file(clean, tmp_path / "trajectory.safetensors", metadata={"dmin": json.dumps(facts)})
    assert read_parquet(tmp_path / "top.parquet").equals(read_csv(tmp_path / "rates.csv"))
    assert read_samples(tmp_path / "top.parquet")["id"].tolist() == ["red/1"]
    assert read_json(tmp_path / "scores.json")["train"] == ["red/1"]
    assert read_checkpoints(tmp_path) == [{"step": 3}]
    loaded = EncodedSamples.load(tmp_path / "train.safetensors", 1, 4)
    assert torch.equal(loaded.latents, samples.latents[1:4]) and list(loaded.ids) == samples.ids[1:4]
    assert torch.equal(Trajectory.load(tmp_path / "trajectory.safetensors", samples.ids).clean, clean["clean"])
    found = list(check_folder(tmp_path.parent, tmp_path.name, set()))
    assert len(found) == 6 and {row[1:] for row in found} == {("ok", "it has no checksum")}
