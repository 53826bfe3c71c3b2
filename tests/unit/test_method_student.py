"""The student: a bilinear map of features that learns a teacher's scores, from its algebra to the files of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import compress_shards, write_gradients
from PIL import Image
from run_config import RUN, tables
from schema_defaults import options

from dmin.attribution import sample_features
from dmin.attribution.bilinear import fit_bilinear
from dmin.attribution.gradient_files import GradientFiles
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods import student
from dmin.attribution.outputs import ScoreFiles
from dmin.attribution.sample_features import FeatureSpace, evenly, frequent_words, others, raw_features
from dmin.attribution.sample_tables import SampleTables
from dmin.attribution.score_taught import Lesson, score_taught
from dmin.data.images import encode_png
from dmin.data.sample_rows import SampleRows
from dmin.data.samples import write_samples
from dmin.evaluation.compression import COLUMNS, Measures
from dmin.evaluation.taught import judge_taught
from dmin.models.image_embedding import efficientnet_embeddings
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace
from dmin.runtime.readers import read_json
from dmin.workflow.job_contents import JobContents
from dmin.workflow.verify_entries import verify_entries

COUNT, ASKED, T, P = 60, 6, 3, 64
CPU = Pace("cpu", 8)
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@pytest.fixture(scope="module", autouse=True)
def encoder() -> Iterator[pytest.MonkeyPatch]:
    """Stand in for the image encoder by what it is shown, but for the test that takes this back."""
    with pytest.MonkeyPatch.context() as patch:

        def embed(pixels: np.ndarray, batch: int, side: int) -> np.ndarray:
            flat = pixels[:, ::2, ::2].reshape(len(pixels), -1)[:, :300].astype(np.float32)
            return flat / np.linalg.norm(flat, axis=1, keepdims=True)

        patch.setattr(sample_features, "efficientnet_embeddings", embed)
        yield patch


def random_map(rank: int, width: int = 12) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.asarray(generator.standard_normal((width, rank)) @ generator.standard_normal((rank, width)))


def test_a_bilinear_teacher_is_recovered_exactly() -> None:
    generator, truth = np.random.default_rng(1), random_map(12)
    left, right, new = (generator.standard_normal((count, 12)) for count in (40, 70, 9))
    fit = fit_bilinear(left, right, left @ truth @ right.T, 12)
    assert fit.explained == pytest.approx(1, abs=1e-9) and fit.penalty == 1e-10
    expected = new @ truth @ right.T
    assert np.abs((new @ fit.left) @ (right @ fit.right).T - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.mean((right @ fit.right) ** 2) == pytest.approx(1)


def test_ridge_is_the_solution_of_the_normal_equations_of_all_pairs() -> None:
    generator = np.random.default_rng(2)
    left, right = generator.standard_normal((15, 3)), generator.standard_normal((20, 3))
    scores = generator.standard_normal((15, 20))
    fit = fit_bilinear(left, right, scores, 3)
    pairs = np.einsum("ia,jb->ijab", left, right).reshape(300, 9)
    squares = np.linalg.svd(pairs, compute_uv=False) ** 2
    system = pairs.T @ pairs + fit.penalty * squares.mean() * np.eye(9)
    expected = np.linalg.solve(system, pairs.T @ scores.ravel())
    np.testing.assert_allclose(fit.left @ fit.right.T, expected.reshape(3, 3), rtol=1e-8, atol=1e-12)


def test_fewer_directions_are_the_best_of_that_rank() -> None:
    generator = np.random.default_rng(3)
    left, right = generator.standard_normal((40, 12)), generator.standard_normal((70, 12))
    scores = left @ random_map(3) @ right.T + 1e-3 * generator.standard_normal((40, 70))
    whole, short = (fit_bilinear(left, right, scores, rank) for rank in (12, 3))
    assert short.right.shape == (12, 3) and short.explained == whole.explained > 0.999
    found = (left @ short.left) @ (right @ short.right).T
    u, s, vt = np.linalg.svd((left @ whole.left) @ (right @ whole.right).T)
    np.testing.assert_allclose(found, (u[:, :3] * s[:3]) @ vt[:3], atol=1e-8)


def test_scores_that_features_say_nothing_about_get_the_largest_ridge() -> None:
    generator = np.random.default_rng(4)
    left, right = generator.standard_normal((30, 8)), generator.standard_normal((30, 8))
    fit = fit_bilinear(left, right, generator.standard_normal((30, 30)), 8)
    assert fit.penalty == 1 and fit.explained < 0.05


def write_table(path: Path, prefix: str, count: int, captions: bool = True, size: int = 24) -> list[str]:
    """Write images of one colour and some noise each, with captions that name it; return the colours."""
    generator = np.random.default_rng(len(prefix) + count)
    names = [list(COLOURS)[row % 3] for row in range(count)]
    images = []
    for name in names:
        values = np.clip(np.array(COLOURS[name]) + generator.normal(0, 25, (size, size, 3)), 0, 255).astype(np.uint8)
        images.append({"bytes": encode_png(Image.fromarray(values)), "path": None})
    table = {
        "id": [f"{prefix}/{row}" for row in range(count)],
        "subset": names,
        "prompt": [f"a {name} square" for name in names] if captions else None,
        "image": images,
    }
    write_samples(pd.DataFrame(table), path)
    return names


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tables of both sides, and a cache of the training samples whose gradients follow the colours."""
    folder = tmp_path_factory.mktemp("student")
    colours = write_table(folder / "train.parquet", "t", COUNT)
    asked = write_table(folder / "queries.parquet", "query/q", ASKED)
    generator = np.random.default_rng(5)
    directions = {name: generator.standard_normal((T, P)) for name in COLOURS}
    gradients = np.stack([directions[name] for name in colours]) + 0.3 * generator.standard_normal((COUNT, T, P))
    shard = write_gradients(folder / "cache.safetensors", [f"t/{row}" for row in range(COUNT)], gradients)
    sketch = compress_shards([shard], 32, folder / "train.npy")
    return {"folder": folder, "colours": colours, "asked": asked, "teacher": GradientFiles([shard], sketch)}


def learned(files: dict[str, Any], **changes: Any) -> tuple[np.ndarray, dict[str, Any]]:
    sides = [SampleRows(files["folder"] / f"{name}.parquet") for name in ("queries", "train")]
    return student.scores(*sides, files["teacher"].read(), options(**changes), CPU)


def test_student_learns_what_the_teacher_sees_in_the_images(files: dict[str, Any]) -> None:
    values, facts = learned(files)
    same = np.array([[one == other for other in files["colours"]] for one in files["asked"]])
    assert values.shape == (ASKED, COUNT) and values.dtype == np.float32
    assert values[same].min() > values[~same].max() and facts["explained"] > 0.8
    assert facts["kept_width"] <= 64


def test_what_is_kept_of_an_image_is_as_wide_as_asked(files: dict[str, Any]) -> None:
    values, facts = learned(files, student_width=2)
    assert facts["kept_width"] == 2 and np.linalg.matrix_rank(values, tol=1e-3) <= 2


def test_scores_of_the_teacher_are_those_of_its_cache(files: dict[str, Any]) -> None:
    rows = files["teacher"].read()
    found = student.teacher_scores(rows, [3, 8, 40], [0, 59])
    every = rows.all().reshape(COUNT, -1)
    np.testing.assert_allclose(found, every[[3, 8, 40]] @ every[[0, 59]].T, rtol=1e-5)


def test_nothing_is_learned_from_queries(files: dict[str, Any], tmp_path: Path) -> None:
    train, teacher = SampleRows(files["folder"] / "train.parquet"), files["teacher"].read()
    write_table(tmp_path / "one.parquet", "query/q", 3)
    whole = student.scores(SampleRows(files["folder"] / "queries.parquet"), train, teacher, options(), CPU)
    other = student.scores(SampleRows(tmp_path / "one.parquet"), train, teacher, options(), CPU)
    assert whole[1] == other[1]


def test_captions_are_left_out_where_there_are_none_and_shapes_may_differ(
    files: dict[str, Any], tmp_path: Path
) -> None:
    write_table(tmp_path / "train.parquet", "t", COUNT, captions=False, size=32)
    write_table(tmp_path / "queries.parquet", "query/q", ASKED, captions=False, size=48)
    train, queries = (SampleRows(tmp_path / f"{name}.parquet") for name in ("train", "queries"))
    assert frequent_words(train) == []
    values, facts = student.scores(queries, train, files["teacher"].read(), options(), CPU)
    assert np.isfinite(values).all() and facts["explained"] > 0.8


def test_words_that_all_captions_have_do_not_count(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = SampleRows(files["folder"] / "train.parquet")
    assert sorted(frequent_words(rows)) == sorted(COLOURS)
    monkeypatch.setattr(sample_features, "WORDS", 2)
    assert len(frequent_words(rows)) == 2
    write_table(tmp_path / "few.parquet", "t", 3)
    monkeypatch.setattr(sample_features, "efficientnet_embeddings", efficientnet_embeddings)
    features = raw_features(SampleRows(tmp_path / "few.parquet"), ["red", "none"], 8)
    assert features["words"].tolist() == [[1, 0], [0, 0], [0, 0]]
    assert {name: part.shape[1] for name, part in features.items()} == {"embedding": 1280, "pixels": 768, "words": 2}


def test_every_kind_of_feature_has_the_same_variance() -> None:
    generator = np.random.default_rng(6)
    spreads = {"pixels": (100, 4), "words": (0, 3), "embedding": (0.01, 6)}
    features = {
        name: (1 + spread * generator.standard_normal((50, width))).astype(np.float32)
        for name, (spread, width) in spreads.items()
    }
    space = FeatureSpace.of(features, 256)
    assert set(space.scales) == {"pixels", "embedding"}
    found = space.coordinates(features)
    assert found.shape == (50, 11) and (found[:, -1] == 1).all()
    assert found[:, :-1].var(0).sum() == pytest.approx(2, rel=1e-4)


def test_places_are_spread_and_the_others_are_the_rest() -> None:
    assert evenly(10, 3) == [0, 3, 6] and evenly(3, 5) == [0, 1, 2]
    assert others(6, [0, 3]) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("few", r"Method student learns from pairs of training images, and there are 12, fewer than 20; leave it out"),
        ("foreign", r"The teacher's gradients are of other samples than the training table; remake them"),
        ("equal", r"The teacher of student scores all training images alike; check the gradient cache's log"),
        ("plain", r"All training images and captions are the same, so that no features tell them apart"),
    ],
)
def test_what_teaches_nothing_is_refused_in_one_sentence(
    files: dict[str, Any], case: str, sentence: str, tmp_path: Path
) -> None:
    folder, teacher = files["folder"], files["teacher"].read()
    table = folder / "train.parquet"
    if case == "few":
        table = tmp_path / "few.parquet"
        write_table(table, "t", 12)
    elif case == "foreign":
        table = tmp_path / "other.parquet"
        write_table(table, "other", COUNT)
    elif case == "plain":
        table = tmp_path / "plain.parquet"
        frame = pd.read_parquet(folder / "train.parquet")
        frame["image"], frame["prompt"] = [frame["image"][0]] * COUNT, "a"
        write_samples(frame, table)
    else:
        ids = [f"t/{row}" for row in range(COUNT)]
        shard = write_gradients(tmp_path / "equal.safetensors", ids, np.ones((COUNT, T, P)))
        teacher = GradientRows([shard], None)
    with pytest.raises(UserError, match=rf"^{sentence}[^\n]*\.$"):
        student.scores(SampleRows(folder / "queries.parquet"), SampleRows(table), teacher, options(), CPU)


@pytest.fixture(scope="module")
def scored(files: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the student's scores."""
    folder = tmp_path_factory.mktemp("scored")
    sides = SampleTables(files["folder"] / "queries.parquet", files["folder"] / "train.parquet")
    lesson = Lesson(sides, files["teacher"])
    named = {"scores": "scores.npy", "description": "scores.json", "top": "top.parquet", "metrics": "metrics.json"}
    paths = ScoreFiles(**{role: folder / name for role, name in named.items()})
    score_taught("student", lesson, options(student_width=8), CPU, 5, paths)
    return folder


def test_files_tell_teacher_ridge_and_bytes(scored: Path) -> None:
    facts, metrics = read_json(scored / "scores.json"), read_json(scored / "metrics.json")
    assert facts["student_teacher"] == "dmin_scaled" and facts["uncompressed_bytes"] == 4 * T * P
    assert metrics["kept_bytes"] == 2 * facts["kept_width"] * COUNT
    top = pd.read_parquet(scored / "top.parquet")
    assert (top["query_subset"] == top["sample_subset"]).mean() == 1


def test_row_of_the_compression_ablation_has_the_bytes_that_are_kept(
    files: dict[str, Any], scored: Path, tmp_path: Path
) -> None:
    sides = SampleTables(files["folder"] / "queries.parquet", files["folder"] / "train.parquet")
    evaluation: Any = {"k": [5, 10], "confidence": 0.95}
    for reference in (None, scored / "scores.npy"):
        judge_taught(scored / "scores.npy", Measures(sides, evaluation, reference), tmp_path / "student.csv")
        table = pd.read_csv(tmp_path / "student.csv")
        width = read_json(scored / "scores.json")["kept_width"]
        assert list(table.columns) == COLUMNS and table["k"].tolist() == [5, 10]
        assert set(table["bytes_per_sample"]) == {2 * width} and set(table["v"]) == {width}
        assert set(table["storage"]) == {"fp16"} and (table["rate"] == 1).all() and table["lds"].isna().all()
        if reference is None:
            assert table[["rmse", "spearman", "recall"]].isna().all(axis=None)
        else:
            assert (table["rmse"] == 0).all() and (table["recall"] == 1).all()


def test_run_makes_the_teacher_s_cache_of_the_training_samples_alone() -> None:
    found = tables(["dmin", "student"], ablation={"hnsw": {"v": 64}})
    run = found.runs["r"]
    assert run.influence.caches("train") == ["loss", "loss_scaled"] and run.influence.caches("queries") == ["loss"]
    assert run.influence.read_caches["student"] == {"train": ["loss_scaled"], "queries": []}
    assert run.influence.teacher_gradients == {
        "teacher": f"{RUN}/sketch/loss_scaled/v256/train.npy",
        "shards": run.gradients.shards("loss_scaled", "train"),
    }
    assert run.influence.top("student", "") == f"{RUN}/influence/student/top.parquet"
    assert run.ablation.teacher_scores == [] and f"{RUN}/ablation/compression/student.csv" in run.ablation.compressed
    entries = verify_entries([run], [], JobContents(found, print))
    scores = next(entry for entry in entries if entry["files"].get("scores") == "runs/r/influence/student/scores.npy")
    assert scores["made_from"]["teacher"] == ["sha256", "runs/r/sketch/loss_scaled/v256/train.npy"]
    assert {"runs/r/sketch/loss_scaled/v256/train.npy"} <= {entry["files"].get("sketch") for entry in entries}
    listed = tables(["dmin", "dmin_scaled", "student"], ablation={"hnsw": {"v": 64}}).runs["r"]
    assert listed.ablation.teacher_scores == [f"{RUN}/influence/dmin_scaled/v256/scores.npy"]
    influence = {"methods": ["student"], "widths": [64], "top_k": 10, "options": {"student_teacher": "dmin"}}
    assert tables(["student"], influence=influence).runs["r"].influence.caches("train") == ["loss"]
