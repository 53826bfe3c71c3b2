"""TracIn and ReTrac: replayed gradients, their weights, and the order of normalising and averaging."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import write_gradients
from tiny_pipeline import CPU, gradient_config, random_samples

from dmin.attribution.checkpoints import Checkpoint, checkpoint_weights
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.replay import Replay
from dmin.gradients.shard import Shard
from dmin.models.load import TrainedModel, load_family
from dmin.models.training.batch import Pool, draw_batch, flip_rows, training_log
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

T, P = 3, 48


def uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 1000, (count,), generator=generator)


TRAIN = {"steps": 4, "batch_size": 3, "prompt_dropout": 0.4, "seed": 7}


def rows(path: Path, name: str, values: np.ndarray, **metadata: Any) -> GradientRows:
    ids = [f"{name}/{number}" for number in range(len(values))]
    return GradientRows([write_gradients(path / f"{name}.safetensors", ids, values, **metadata)], None)


def make_points(folder: Path, count: int = 2) -> tuple[list[Checkpoint], list[tuple[np.ndarray, np.ndarray]]]:
    """Return checkpoints of random gradients: queries at three timesteps, training samples at their own."""
    generator = np.random.default_rng(0)
    points, values = [], []
    for place in range(count):
        asked = generator.standard_normal((4, T, P)) * np.array([1, 10, 0.1])[:, None]
        seen = generator.standard_normal((9, 1, P)) * generator.uniform(0.1, 10, (9, 1, 1))
        path = folder / str(place)
        queries = rows(path, "q", asked, timesteps=[900, 500, 100], draws=4)
        train = rows(path, "t", seen, timesteps=["replayed"], draws=1)
        points.append(Checkpoint(queries, train, 0.5 + place))
        values.append((asked, seen[:, 0]))
    return points, values


def test_tracin_sums_weighted_products_over_checkpoints(tmp_path: Path) -> None:
    points, values = make_points(tmp_path)
    expected = sum(point.weight * asked.mean(1) @ seen.T for point, (asked, seen) in zip(points, values, strict=True))
    scores = METHODS["tracin"].scores(points)
    np.testing.assert_allclose(scores, expected, atol=2e-3 * np.abs(expected).max())


def test_retrac_normalises_each_timestep_before_averaging(tmp_path: Path) -> None:
    points, values = make_points(tmp_path)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    expected = sum(
        point.weight * unit(asked).mean(1) @ unit(seen).T for point, (asked, seen) in zip(points, values, strict=True)
    )
    scores = METHODS["retrac"].scores(points)
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    assert np.abs(scores).max() <= sum(point.weight for point in points)


@pytest.mark.parametrize("method", ["tracin", "retrac"])
def test_duplicates_of_the_query_come_first(tmp_path: Path, method: str) -> None:
    values = np.random.default_rng(1).standard_normal((30, 1, P))
    values[4] = values[5]
    queries = rows(tmp_path, "q", np.repeat(values[4:5], T, axis=1), timesteps=[900, 500, 100], draws=4)
    point = Checkpoint(queries, rows(tmp_path, "t", values, timesteps=["replayed"], draws=1), 0.1)
    scores = METHODS[method].scores([point])
    assert set(np.argsort(-scores[0])[:2]) == {4, 5} and scores[0, 4] > 0


def test_weights_are_learning_rates_times_epochs() -> None:
    facts = [{"step": 10, "learning_rate": 0.1}, {"step": 30, "learning_rate": 0.05}]
    assert checkpoint_weights(facts, 8, 40) == pytest.approx([0.1 * 2, 0.05 * 4])


def test_a_sample_counts_as_often_as_an_epoch_sees_it(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["t/1", "t/0", "t/2"], "repeats": [10, 1, 3]})
    table.to_parquet(tmp_path / "train.parquet")
    tables = SampleTables(tmp_path / "queries.parquet", tmp_path / "train.parquet")
    assert tables.repeats(["t/0", "t/1", "t/2"]).tolist() == [1, 10, 3]
    table[["id"]].to_parquet(tmp_path / "train.parquet")
    assert tables.repeats(["t/0", "t/1"]).tolist() == [1, 1]


def test_sides_of_different_models_are_refused(tmp_path: Path) -> None:
    points, _ = make_points(tmp_path, 1)
    other = rows(tmp_path / "other", "t", np.ones((2, 1, P)), timesteps=["replayed"], draws=1, model="other")
    with pytest.raises(UserError, match="differ in model"):
        METHODS["tracin"].scores([Checkpoint(points[0].queries, other, 1.0)])
    with pytest.raises(UserError, match=r"There is no checkpoint to sum over; list steps"):
        METHODS["tracin"].scores([])


def test_flips_change_no_other_draw() -> None:
    shape, flipping = (1, 2, 4), {**TRAIN, "flip": True}
    plain, flipped = (
        draw_batch(Pool.of_one_shape(torch.arange(5), shape), settings, 2, uniform) for settings in (TRAIN, flipping)
    )
    for name in ("index", "noise", "timesteps", "dropped"):
        assert torch.equal(getattr(plain, name), getattr(flipped, name))
    assert not plain.flipped.any()
    share = np.mean(
        [
            draw_batch(Pool.of_one_shape(torch.arange(5), shape), flipping, step, uniform).flipped.float().mean()
            for step in range(200)
        ]
    )
    assert 0.4 < share < 0.6
    latents = torch.arange(16.0).view(2, 1, 2, 4)
    assert torch.equal(flip_rows(latents, torch.tensor([False, True]))[1], latents[1].flip(-1))
    assert torch.equal(flip_rows(latents, torch.tensor([False, True]))[0], latents[0])


@pytest.mark.parametrize("flip", [False, True])
def test_replayed_gradients_are_those_of_the_training_step(
    flip: bool, tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path, tmp_path: Path
) -> None:
    samples, step, train = random_samples(5), 3, {**TRAIN, "flip": flip}
    log = training_log(samples.ids, Pool.of(samples), train, uniform)
    log.to_parquet(tmp_path / "log.parquet")
    shard = tmp_path / "00000000-00000005.safetensors"
    settings = {"quantity": "loss", "draws": 1, "checkpoint": step}
    config = gradient_config()
    del config["timesteps"]
    cache_gradients(
        ShardTask(tiny_samples, 0, 5, shard, shard.with_suffix(".metrics.json")),
        TrainedModel(tiny_base, tiny_adapter),
        config,
        CacheKind("checkpoint-3", settings, replay=tmp_path / "log.parquet"),
        Pace("cpu", 2),
    )
    found = Shard(shard)
    raw = found.read("raw").astype(np.float64) * found.read("norm")[..., None]
    assert found.metadata["timesteps"] == ["replayed"] and raw.shape[1] == 1
    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(tiny_adapter.parent)
    chosen = [value.requires_grad_() for name, value in family.denoiser.named_parameters() if "lora_" in name]
    last: dict[int, np.ndarray] = {}
    dropped: set[bool] = set()
    for number in range(step):
        batch = draw_batch(Pool.of(samples), train, number, uniform)
        prompts = samples.conditioning["prompt_embeds"][batch.index].clone()
        prompts[batch.dropped] = samples.unconditional["prompt_embeds"]
        losses = family.objective(
            flip_rows(samples.latents[batch.index], batch.flipped),
            batch.noise,
            batch.timesteps,
            {"prompt_embeds": prompts},
        )
        for row, place in enumerate(batch.index.tolist()):
            gradients = torch.autograd.grad(losses[row], chosen, retain_graph=True)
            last[place] = torch.cat([gradient.flatten() for gradient in gradients]).double().numpy()
            dropped.add(bool(batch.dropped[row]))
    assert dropped == {True, False} and set(last) == set(range(5))
    for place, expected in last.items():
        error = np.linalg.norm(raw[place, 0] - expected) / np.linalg.norm(expected)
        assert error < 2e-3, place


def test_a_sample_that_was_not_seen_is_refused(tmp_path: Path) -> None:
    log = training_log(
        [f"a/{number}" for number in range(5)], Pool.of_one_shape(torch.arange(5), (1, 2, 2)), TRAIN, uniform
    )
    log.to_parquet(tmp_path / "log.parquet")
    with pytest.raises(UserError, match=r"was not trained on before checkpoint 1; name a later step"):
        Replay.load(tmp_path / "log.parquet", [f"a/{number}" for number in range(5)], 1)
    whole = Replay.load(tmp_path / "log.parquet", [f"a/{number}" for number in range(5)], 4)
    seen = pd.read_parquet(tmp_path / "log.parquet").groupby("sample_id")["step"].max()
    assert whole.entries.set_index("sample_id")["step"].to_dict() == seen.to_dict()
