"""The table of an audit, from gradients, features and losses of which it is known what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients
from PIL import Image

from dmin.attribution.gradient_files import GradientFiles
from dmin.audit.inputs import AuditInputs, SplitInputs
from dmin.audit.report import AuditFiles, read_samples_table, write_audit
from dmin.audit.samples import audit_samples
from dmin.data.images import encode_png
from dmin.data.samples import write_samples
from dmin.games.feature_files import write_features
from dmin.runtime.atomic import write_parquet
from dmin.runtime.errors import UserError

SETTINGS: Any = {"k": 3, "relative_lambda": 0.1, "size": 16}
TRAIN, TEST, WIDE = 24, 12, 32


def subsets(count: int) -> list[str]:
    return ["red" if place % 2 else "blue" for place in range(count)]


def picture(seed: int, side: int = 16) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def directions(names: list[str], seed: int) -> np.ndarray:
    """Return unit vectors ``[n, 40]`` around one direction for each subset."""
    generator = np.random.default_rng(seed)
    rows = 0.5 * generator.standard_normal((len(names), 40))
    rows[:, 0] += np.where(np.array(names) == "red", 4, -4)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def write_split(folder: Path, split: str, names: list[str], seed: int) -> SplitInputs:
    """Write the files of a split; its gradients and features are :func:`directions`."""
    ids = [f"{split[0]}/{place}" for place in range(len(names))]
    pictures = [picture(seed + place) for place in range(len(names))]
    if split == "train":
        pictures[4], pictures[6] = pictures[2], pictures[8].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    images = pd.Series([{"bytes": encode_png(image), "path": None} for image in pictures], dtype=object)
    frame = pd.DataFrame({"id": ids, "subset": names, "prompt": [f"{name} thing" for name in names], "image": images})
    write_samples(frame.assign(label=None, origin=""), folder / f"{split}.parquet")
    vectors = directions(names, seed)
    features = vectors.astype(np.float32)
    if split == "train":
        features[4], features[6] = features[2], features[8]
    write_features({"features": features}, folder / f"{split}_features.safetensors")
    losses = [
        (name, caption, step, draw, 1.0 + 0.01 * (place % 3) + 0.5 * (place == 5) * (caption == ""))
        for place, name in enumerate(ids)
        for caption, draws in (("", 2), ("t/1", 1), ("t/2", 1))
        for step in (700, 200)
        for draw in range(draws)
    ]
    columns = ["sample", "caption_of", "timestep", "draw", "loss"]
    write_parquet(pd.DataFrame(losses, columns=columns), folder / f"{split}_losses.parquet")
    return SplitInputs(
        folder / f"{split}.parquet",
        folder / f"{split}_features.safetensors",
        folder / f"{split}_losses.parquet",
        write_rows(folder, split, ids, vectors),
    )


def write_rows(folder: Path, split: str, ids: list[str], vectors: np.ndarray) -> GradientFiles:
    lengths = np.arange(1, len(ids) + 1)[:, None, None]
    shard = write_gradients(folder / f"{split}.safetensors", ids, lengths * np.repeat(vectors[:, None], 3, axis=1))
    return GradientFiles([shard], compress_shards([shard], WIDE, folder / f"{split}.npy"))


@pytest.fixture
def inputs(tmp_path: Path) -> AuditInputs:
    train = write_split(tmp_path, "train", subsets(TRAIN), 100)
    asked = write_rows(tmp_path, "queries", ["query/a", "query/b"], directions(["red", "blue"], 7))
    images = [
        {"bytes": encode_png(picture(place, 8 if place == 3 else 20)), "path": f"{place}.png"} for place in range(TRAIN)
    ]
    frame = pd.DataFrame({"image": pd.Series(images, dtype=object), "prompt": "", "label": None, "origin": ""})
    write_samples(frame, tmp_path / "source.parquet")
    norms = {"self_influence": train.gradients.shards}
    return AuditInputs(
        train, write_split(tmp_path, "test", subsets(TEST), 500), asked, norms, {"t": tmp_path / "source.parquet"}
    )


def audit(inputs: AuditInputs, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    audit_samples(inputs, SETTINGS, folder / "samples.csv", folder / "held_out.csv")
    return read_samples_table(folder / "samples.csv"), read_samples_table(folder / "held_out.csv")


def test_every_image_has_its_facts(inputs: AuditInputs, tmp_path: Path) -> None:
    table, held_out = audit(inputs, tmp_path)
    assert table["sample"].tolist() == [f"t/{place}" for place in range(TRAIN)] and len(held_out) == TEST
    assert table["file"][3] == "3.png" and table["upscaling"][3] == 2 and table["upscaling"][4] == 1
    assert table["copies"].tolist()[2] == "t/4" and table["copies"].tolist()[4] == "t/2"
    assert table["near_copies"][6] == "t/8" and table["near_copies"][8] == "t/6"
    assert (table["near_copies"] != "").sum() == 2 and (table["copies"] != "").sum() == 2
    assert table["self_influence"].tolist() == pytest.approx([3 * (place + 1) ** 2 for place in range(TRAIN)], rel=1e-5)
    assert (np.diff(table["gradient_norm"]) > 0).all()
    assert ((table["leverage"] > 0) & (table["leverage"] < 1)).all()
    assert (table["influence_margin"] < 0).all() and (table["feature_margin"] < 0).all()
    own = table["subset"].to_numpy()
    near = [names.split() for names in table["influence_neighbours"]]
    assert all(len(names) == 3 for names in near)
    assert all(subsets(TRAIN)[int(name[2:])] == mine for names, mine in zip(near, own, strict=True) for name in names)
    assert table["loss"].idxmax() == 5 and table["loss_percentile"][5] == 1
    assert table["caption_gap"].idxmax() == 5 and table["caption_gap"][5] == pytest.approx(np.log(1.5), rel=0.1)


def test_queries_tell_hubs_and_held_out_images_what_helps(inputs: AuditInputs, tmp_path: Path) -> None:
    table, held_out = audit(inputs, tmp_path)
    assert table["hubs"].sum() == 2 * 3 and set(table.loc[table["hubs"] > 0, "hubs"]) <= {1, 2}
    red = table["subset"] == "red"
    assert (table.loc[red, "closest_query"] == "query/a").all() and (
        table.loc[~red, "closest_query"] == "query/b"
    ).all()
    assert (table["held_out_images"] == TEST // 2).all()
    assert table["held_out_influence"].mean() > 0 and (table["held_out_influence_se"] > 0).all()
    assert set(held_out.columns) >= {"loss", "caption_gap", "feature_margin", "influence_margin", "hubs", "query_score"}


@pytest.mark.fault("an audit of a data set without a test set", "the table leaves out what held-out images tell")
def test_without_a_test_set_nothing_is_held_out(inputs: AuditInputs, tmp_path: Path) -> None:
    whole, _ = audit(inputs, tmp_path)
    table, held_out = audit(replace(inputs, test=None), tmp_path)
    assert len(held_out) == 0 and "held_out_influence" not in table
    pd.testing.assert_frame_equal(table, whole[table.columns])


@pytest.mark.fault(
    "an audit of images alone, of one subset, without captions",
    "what needs captions or subsets is left out by name, the other columns and issues are there",
)
def test_images_alone_are_audited(inputs: AuditInputs, tmp_path: Path) -> None:
    whole, _ = audit(inputs, tmp_path)
    for split in (inputs.train, inputs.test):
        assert split is not None
        table = pd.read_parquet(split.table).assign(subset="all", prompt="")
        write_samples(table, split.table)
        losses = pd.read_parquet(split.losses)
        write_parquet(losses[losses["caption_of"] == ""], split.losses)
    table, held_out = audit(inputs, tmp_path)
    assert set(whole.columns) - set(table.columns) == {
        "caption_gap", "caption_gap_se", "better_caption", "caption_image_margin", "caption_text_margin",
    }  # fmt: skip
    assert table["feature_margin"].isna().all() and table["feature_distance"].notna().all()
    same = ["copies", "near_copies", "loss", "leverage", "hubs", "query_score", "sharpness"]
    pd.testing.assert_frame_equal(table[same], whole[same])
    files = AuditFiles(*(tmp_path / name for name in ("audit.csv", "audit.json", "keep.txt", "drop.txt")))
    write_audit(tmp_path / "samples.csv", tmp_path / "held_out.csv", {"fdr": 0.1, "confidence": 0.95}, files)
    summary = json.loads(files.summary.read_text())
    assert "one subset" in summary["left_out"]["mislabelled"] and "captions" in summary["left_out"]["wrong caption"]
    assert {"duplicate", "near duplicate", "low quality"} <= set(summary["issues"]) and len(held_out) == TEST


def test_more_images_than_can_be_compared_are_refused(
    inputs: AuditInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmin.audit.influence.MOST_SAMPLES", TRAIN - 1)
    with pytest.raises(UserError, match=r"at most 23 training images .* there are 24; audit a part"):
        audit(inputs, tmp_path)
