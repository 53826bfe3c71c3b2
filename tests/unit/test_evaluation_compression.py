"""The compression ablation on fabricated gradients, and what each number format loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated import CACHE_DIM, compress_shards, write_gradients
from schema_defaults import options

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.outputs import Scored, ScoreFiles, write_scores
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import write_samples
from dmin.evaluation.compressed_rows import CompressedRows
from dmin.evaluation.compression import COLUMNS, Measures, rank_correlation, score_compressed
from dmin.evaluation.lds import JudgingBank, predict_sets
from dmin.evaluation.storage import stored, stored_bytes
from dmin.retraining.sets import draw_sets
from dmin.runtime.atomic import write_json, write_parquet
from dmin.runtime.errors import UserError
from dmin.runtime.meter import Meter
from dmin.runtime.percentiles import Interval
from dmin.runtime.readers import read_json
from dmin.settings.runs import Compression

TRAIN, QUERIES, T, P = 90, 8, 3, 200
EVALUATION = {"k": [5, 10], "confidence": 0.95}


@pytest.mark.parametrize(("storage", "relative"), [("fp32", 0), ("fp16", 2**-11), ("int8", 1 / 254), ("int4", 1 / 14)])
def test_storage_rounds_within_its_step(storage: str, relative: float) -> None:
    rows = np.random.default_rng(0).standard_normal((4, T, 32)).astype(np.float32)
    # Rows of very different length lose no more than their own share.
    rows[1] *= 1e-3
    rows[2] *= 1e3
    back = stored(rows, storage)
    assert back.dtype == np.float32 and back.shape == rows.shape
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    assert (np.abs(back - rows) <= relative * largest * 1.001).all()
    # What was rounded once stays as it is.
    np.testing.assert_allclose(stored(back, storage), back, rtol=1e-6)


def test_zeros_stay_zeros() -> None:
    for storage in ("int8", "int4", "one_bit"):
        assert not stored(np.zeros((2, T, 8), np.float32), storage).any()


def test_one_bit_keeps_signs_and_the_mean_size() -> None:
    rows = np.array([[[1.0, -2.0, 0.0, 5.0]]], np.float32)
    np.testing.assert_array_equal(stored(rows, "one_bit"), [[[2, -2, 2, 2]]])
    assert stored(rows, "one_bit").dtype == np.float32


def test_bytes_are_counted_with_their_scales() -> None:
    assert [stored_bytes(10, 4096, storage) for storage in ("fp32", "fp16", "int8")] == [163840, 81920, 41000]
    assert [stored_bytes(10, 4096, storage) for storage in ("int4", "one_bit")] == [20520, 5160]
    # Seven signs are one byte, seven halves of a byte four.
    assert [stored_bytes(1, 7, storage) for storage in ("int4", "one_bit")] == [8, 5]


def test_unknown_storage_and_too_large_values_are_refused() -> None:
    with pytest.raises(UserError, match="Storage 'int2' is unknown; choose one of fp32, fp16, int8, int4"):
        stored(np.ones((1, 1, 1), np.float32), "int2")
    with pytest.raises(UserError, match="store it as fp32"):
        stored(np.full((1, 1, 1), 1e6, np.float32), "fp16")


def test_rank_correlation_by_hand() -> None:
    one = np.array([[1.0, 2, 3, 4], [5, 5, 5, 5]])
    other = np.array([[10.0, 30, 20, 40], [1, 2, 3, 4]])
    # 1 - 6 * 2 / (4 * 15); the second query ranks nothing and is left out.
    assert rank_correlation(one, other) == pytest.approx(0.8)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert np.isnan(rank_correlation(one[1:], other[1:]))


class Run:
    """The files of a small run: gradients of two subsets, their sketches and tables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        generator = np.random.default_rng(0)
        centres = generator.standard_normal((2, T, P))
        self.gradients, self.rows, self.files = {}, {}, {}
        for split, count in (("train", TRAIN), ("queries", QUERIES)):
            noise = generator.standard_normal((count, T, P))
            gradients = centres[np.arange(count) % 2] + 1.5 * noise
            ids = [f"{split}/{number}" for number in range(count)]
            shard = write_gradients(folder / f"{split}.safetensors", ids, gradients)
            sketch = compress_shards([shard], CACHE_DIM, folder / f"{split}.npy")
            subsets = ["ab"[number % 2] for number in range(count)]
            write_samples(pd.DataFrame({"id": ids, "subset": subsets}), folder / f"{split}.parquet")
            self.gradients[split] = gradients / np.linalg.norm(gradients, axis=-1, keepdims=True)
            self.files[split] = GradientFiles([shard], sketch)
            self.rows[split] = self.files[split].read()

    def uncompressed(self) -> Path:
        left, right = (self.gradients[split].reshape(-1, T * P) for split in ("queries", "train"))
        ids = [self.rows[split].ids for split in ("queries", "train")]
        out = self.folder / "scores.npy"
        subsets = {name: "a" for side in ids for name in side}
        files = ScoreFiles(out, out.with_suffix(".json"), self.folder / "top.parquet", self.folder / "metrics.json")
        with Meter() as meter:
            scored = Scored("dmin", (left @ right.T).astype(np.float32), *ids, {}, {}, {})
        write_scores(scored, subsets, 5, files, meter)
        return out

    def bank(self, seeds: int = 2) -> JudgingBank:
        """A bank whose losses are what DMin at cache_dim foretells, and a little noise."""
        generator = np.random.default_rng(1)
        train, queries = self.rows["train"], self.rows["queries"]
        member = draw_sets(["a"] * len(train.ids), 16, 0.5, seed=3)
        sets, rows = np.nonzero(member)
        write_parquet(pd.DataFrame({"set": sets, "id": [train.ids[row] for row in rows]}), self.folder / "sets.parquet")
        scores = np.einsum("qtv,itv->qi", queries.all(), train.all())
        losses = -predict_sets(scores, member)[:, :, None] + 0.1 * generator.standard_normal((QUERIES, 16, seeds))
        # The order of queries in a bank is its own.
        table = pd.DataFrame(
            [
                (s, r, queries.ids[q], losses[q, s, r])
                for q in reversed(range(QUERIES))
                for s, r in np.ndindex(16, seeds)
            ],
            columns=["set", "repeat", "query_id", "loss"],
        )
        write_parquet(table.assign(low_timestep=0, high_timestep=0, timesteps=1), self.folder / "losses.parquet")
        interval = Interval(bootstrap=100, confidence=0.95, seed=1)
        return JudgingBank([self.folder / "losses.parquet"], [self.folder / "sets.parquet"], interval)

    def evaluate(
        self,
        widths: list[int],
        reference: Path | None = None,
        method: str = "dmin",
        bank: JudgingBank | None = None,
        **changes: Any,
    ) -> pd.DataFrame:
        out = self.folder / "compression.csv"
        tables = SampleTables(queries=self.folder / "queries.parquet", train=self.folder / "train.parquet")
        evaluation: Any = {**EVALUATION, **changes}
        sides = GradientSides(self.files["queries"], self.files["train"])
        measures = Measures(tables, evaluation, reference, bank)
        formats = Compression(widths=widths, storage=["fp32", "fp16", "int8"])
        score_compressed(method, sides, options(), formats, measures, out)
        return pd.read_csv(out)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_compressed_rows_are_folded_and_rounded(run: Run) -> None:
    rows = run.rows["train"]
    np.testing.assert_array_equal(CompressedRows(rows, CACHE_DIM, "fp32").all(), rows.all())
    folded = rows.all().reshape(TRAIN, T, 8, CACHE_DIM // 8).sum(-1)
    np.testing.assert_allclose(CompressedRows(rows, 8, "fp32").all(), folded, atol=1e-6)
    np.testing.assert_array_equal(CompressedRows(rows, 8, "int8").all(), stored(folded, "int8"))
    query = np.random.default_rng(0).standard_normal((2, T * 8)).astype(np.float32)
    products = np.concatenate([block for _, block in CompressedRows(rows, 8, "fp32").products(query)], axis=1)
    np.testing.assert_allclose(products, query @ folded.reshape(TRAIN, -1).T, atol=1e-5)
    columns = CompressedRows(rows, 8, "fp32").columns(4, 4)
    np.testing.assert_allclose(columns, (folded[..., 4:] * rows.norms[..., None]).reshape(TRAIN, -1), rtol=1e-5)


def test_norms_count_where_a_method_reads_them(run: Run) -> None:
    sizes = {
        method: run.evaluate([8], method=method).drop_duplicates("storage").set_index("storage")["bytes_per_sample"]
        for method in ("dmin", "dmin_no_norm", "grad_cos", "trak")
    }
    assert sizes["dmin"]["fp16"] == 2 * T * 8
    assert all(sizes[name]["fp16"] == 2 * T * 8 + 4 * T for name in ("dmin_no_norm", "grad_cos", "trak"))


@pytest.mark.parametrize("method", ["dmin", "dmin_centred", "dmin_kernel", "grad_dot", "retrac_final"])
def test_every_method_is_itself_at_cache_dim(run: Run, method: str) -> None:
    table = run.evaluate([CACHE_DIM], method=method)
    exact = table[table["storage"] == "fp32"]
    assert set(table["method"]) == {method} and exact["rmse"].tolist() == [0, 0]
    assert exact["spearman"].tolist() == pytest.approx([1, 1])


def test_bank_judges_every_variant(run: Run) -> None:
    table = run.evaluate([CACHE_DIM, 2], bank=run.bank())
    wide, narrow = (table[(table["v"] == v) & (table["storage"] == "fp32")].iloc[0] for v in (CACHE_DIM, 2))
    assert wide["lds"] > 0.9 and narrow["lds"] < wide["lds_low"]
    assert (table["lds_low"] <= table["lds"]).all() and (table["lds"] <= table["lds_high"]).all()
    assert table["lds_ceiling"].between(wide["lds"], 1).all()
    assert table["hardware"].notna().all()


def test_without_a_bank_the_lds_is_empty(run: Run) -> None:
    columns = ["lds", "lds_low", "lds_high", "lds_ceiling"]
    assert run.evaluate([8])[columns].isna().all(axis=None)


def test_every_width_storage_and_k_has_a_row(run: Run) -> None:
    table = run.evaluate([CACHE_DIM, 8])
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(["method", "v", "storage", "k"]).any()
    assert len(table) == 2 * 3 * 2
    assert (table["low"] <= table["rate"]).all() and (table["rate"] <= table["high"]).all()
    sizes = table.drop_duplicates(["v", "storage"]).set_index(["v", "storage"])["bytes_per_sample"]
    assert sizes[8, "int8"] == T * (8 + 4) and sizes[CACHE_DIM, "fp16"] == 2 * T * CACHE_DIM
    assert np.allclose(table["share_of_uncompressed"], table["bytes_per_sample"] / (4 * T * P))


def test_the_cache_itself_is_without_error_where_it_is_the_reference(run: Run) -> None:
    table = run.evaluate([CACHE_DIM, 8])
    assert set(table["reference"]) == {"cache_dim"}
    exact = table[(table["v"] == CACHE_DIM) & (table["storage"] == "fp32")]
    assert exact["rmse"].tolist() == [0, 0] and exact["recall"].tolist() == [1, 1]
    assert exact["spearman"].tolist() == pytest.approx([1, 1])
    narrow = table[table["v"] == 8]
    assert (narrow["rmse"] > 0.1).all() and (narrow["recall"] < 0.9).all()


def test_narrower_is_worse_against_the_uncompressed_scores(run: Run) -> None:
    table = run.evaluate([CACHE_DIM, 8, 2], run.uncompressed())
    assert set(table["reference"]) == {"uncompressed"}
    wide, middle, narrow = (table[(table["v"] == v) & (table["k"] == 10)] for v in (CACHE_DIM, 8, 2))
    for column, sign in (("rmse", -1), ("spearman", 1)):
        values = [sign * part[column].mean() for part in (wide, middle, narrow)]
        assert values[0] > values[1] > values[2], column
    # An inner product of unit vectors errs by about 1 / sqrt(v), T of them by sqrt(T) times as much.
    assert wide["rmse"].mean() == pytest.approx(np.sqrt(T / CACHE_DIM), rel=0.25)


def test_number_formats_err_far_less_than_the_sketch(run: Run) -> None:
    table = run.evaluate([CACHE_DIM], run.uncompressed())
    assert table["rmse"].max() < 1.02 * table["rmse"].min()


def test_scores_of_other_samples_are_refused(run: Run) -> None:
    scores = run.uncompressed()
    path = scores.with_suffix(".json")
    facts = read_json(path)
    write_json({**facts, "train": [name.replace("train/7", "train/x7") for name in facts["train"]]}, path)
    with pytest.raises(UserError, match=r"Scores '.*scores\.npy' are of other samples"):
        run.evaluate([8], scores)


def test_width_that_does_not_fold_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match=f"v=5 does not divide cache_dim {CACHE_DIM}"):
        run.evaluate([5])


def test_k_beyond_the_training_set_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match=rf"evaluation\.k has {TRAIN + 1}, but the training set has {TRAIN} samples"):
        run.evaluate([8], k=[5, TRAIN + 1])
