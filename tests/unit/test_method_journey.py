"""Journey-TRAK: trajectories recorded beside the same images, gradients along them, scores that sum over steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated import write_gradients
from schema_defaults import options, options_of
from tiny_pipeline import CPU, LATENT, SIZE, gradient_config
from torch import Tensor

from dmin.attribution.gradient_files import GradientFiles, GradientSides
from dmin.attribution.gradient_rows import GradientRows
from dmin.attribution.methods.journey_trak import step_problem, step_scores
from dmin.attribution.registry import METHODS
from dmin.attribution.sample_tables import SampleTables
from dmin.data.samples import read_samples, write_samples
from dmin.evaluation.journey_steps import score_journey_steps
from dmin.gradients.cache import cache_gradients
from dmin.gradients.cache_kind import CacheKind
from dmin.gradients.make_shard import ShardTask
from dmin.gradients.noise import draw_noise
from dmin.gradients.shard import Shard
from dmin.models.encoded import EncodedSamples
from dmin.models.load import TrainedModel, load_family
from dmin.models.queries.generate import generate_queries, initial_noise
from dmin.models.queries.record_trajectory import record_trajectory
from dmin.models.queries.trajectory import Trajectory
from dmin.runtime.errors import UserError
from dmin.runtime.pace import Pace

SAMPLING = {"per_subset": 3, "seed": 1, "steps": 5, "guidance": 3.0, "size": SIZE}
P = 48


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory, tiny_base: Mapping[str, Any], tiny_adapter: Path) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    rows = {"id": ["flags/1", "flags/2"], "subset": ["flags"] * 2, "prompt": ["a red flag", "a blue brick"]}
    rows["label"] = [None] * 2
    write_samples(pd.DataFrame(rows), folder / "test.parquet")
    out = folder / "queries.parquet"
    model = TrainedModel(tiny_base, tiny_adapter)
    generate_queries(folder / "test.parquet", model, SAMPLING, ["flags"], out, Pace("cpu", 3))
    return out


def _record(queries: Path, adapter: Path, base: Mapping[str, Any], out: Path, batch: int = 2) -> Trajectory:
    record_trajectory(queries, TrainedModel(base, adapter), SAMPLING, out, Pace("cpu", batch))
    return Trajectory.load(out, read_samples(queries)["id"].tolist())


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, queries: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path
) -> Path:
    out = tmp_path_factory.mktemp("trajectory") / "trajectory.safetensors"
    _record(queries, tiny_adapter, tiny_base, out)
    return out


def test_trajectory_is_what_the_denoiser_predicted(
    recorded: Path, queries: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path
) -> None:
    table = read_samples(queries)
    trajectory = Trajectory.load(recorded, table["id"].tolist())
    assert trajectory.clean.shape == (3, 5, *LATENT) and trajectory.clean.dtype == torch.float32
    assert trajectory.timesteps == sorted(trajectory.timesteps, reverse=True)
    assert [path.name for path in recorded.parent.iterdir()] == ["trajectory.safetensors"]
    family: Any = load_family(tiny_base, CPU, ["encoders", "denoiser"])
    family.load_adapter(tiny_adapter.parent)
    # At the first step the latents are the initial noise, so the prediction can be computed without the sampler.
    noise = initial_noise(table["seed"].tolist(), LATENT)
    first = trajectory.timesteps[0]
    with torch.no_grad():
        prompts = [family.encode_prompts(texts)["prompt_embeds"] for texts in ([""] * 3, table["prompt"].tolist())]
        without, given = (family.denoiser(noise, first, prompt).sample for prompt in prompts)
    kept = family.target.scheduler.alphas_cumprod[first]
    guided = without + SAMPLING["guidance"] * (given - without)
    torch.testing.assert_close(
        trajectory.clean[:, 0], (noise - (1 - kept).sqrt() * guided) / kept.sqrt(), rtol=1e-3, atol=1e-3
    )


def test_batches_and_kills_do_not_change_a_trajectory(
    recorded: Path, queries: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from dmin.models.queries import record_trajectory as module

    sample, calls = module._sample, []

    def killed(*given: Any) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(*given)

    monkeypatch.setattr(module, "_sample", killed)
    out = tmp_path / "trajectory.safetensors"
    with pytest.raises(KeyboardInterrupt):
        _record(queries, tiny_adapter, tiny_base, out, batch=1)
    assert not out.exists()
    again = _record(queries, tiny_adapter, tiny_base, out, batch=1)
    assert len(calls) == 4
    whole = Trajectory.load(recorded, again.ids)
    assert whole.timesteps == again.timesteps
    torch.testing.assert_close(again.clean, whole.clean, rtol=1e-3, atol=1e-3)


def test_images_without_a_trajectory_are_refused(
    queries: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    table = read_samples(queries)
    out = tmp_path / "trajectory.safetensors"
    write_samples(table.drop(columns="seed"), tmp_path / "own.parquet")
    with pytest.raises(UserError, match=r"have no seed to sample them again with.*leave journey_trak out"):
        _record(tmp_path / "own.parquet", tiny_adapter, tiny_base, out)
    shifted = table.assign(seed=table["seed"] + 1)
    write_samples(shifted, tmp_path / "shifted.parquet")
    with pytest.raises(UserError, match=r"Query 'query/flags/000\d' is not the image that its seed gives"):
        _record(tmp_path / "shifted.parquet", tiny_adapter, tiny_base, out)
    assert not out.exists()


def test_trajectories_of_other_queries_and_torn_ones_are_refused(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not that of the encoded queries"):
        Trajectory.load(recorded, ["a", "b", "c"])
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(recorded.read_bytes()[:-5])
    with pytest.raises(UserError, match="is torn or foreign"):
        Trajectory.load(torn, [])


def test_steps_are_evenly_spread_from_first_to_last() -> None:
    trajectory = Trajectory(["q"], [900, 700, 500, 300, 100], torch.arange(5.0).view(1, 5, 1, 1, 1))
    thin = trajectory.thinned(3)
    assert thin.timesteps == [900, 500, 100] and thin.clean.flatten().tolist() == [0, 2, 4]
    assert thin.at([(0, 100), (0, 900)]).flatten().tolist() == [4, 0]
    with pytest.raises(UserError, match="journey_steps is 6, but the queries were sampled in 5 steps; lower it"):
        trajectory.thinned(6)


def test_gradients_are_of_the_loss_along_the_trajectory(
    recorded: Path, tiny_base: Mapping[str, Any], tiny_adapter: Path, tmp_path: Path
) -> None:
    """Against autograd, one query, step and noise at a time."""
    trajectory = Trajectory.load(recorded, [f"query/flags/000{n}" for n in range(3)])
    prompts = torch.randn((3, 8, 16), generator=torch.Generator().manual_seed(2))
    encoded = EncodedSamples(trajectory.ids, torch.zeros((3, *LATENT)), {"prompt_embeds": prompts}, {})
    encoded.save(tmp_path / "queries.safetensors")
    config = {key: value for key, value in gradient_config().items() if key != "timesteps"}
    out, settings = tmp_path / "0.safetensors", {"quantity": "loss", "draws": 2, "steps": 3}
    cache_gradients(
        ShardTask(tmp_path / "queries.safetensors", 1, 3, out, tmp_path / "0.metrics.json"),
        TrainedModel(tiny_base, tiny_adapter),
        config,
        CacheKind("journey", settings, recorded),
        Pace("cpu", 4),
    )
    shard, thin = Shard(out), trajectory.thinned(3)
    assert shard.ids == list(trajectory.ids[1:]) and shard.metadata["timesteps"] == thin.timesteps
    assert (shard.metadata["draws"], shard.metadata["objective"]) == (2, "trajectory")
    family = load_family(tiny_base, CPU, ["denoiser"])
    family.load_adapter(tiny_adapter.parent)
    chosen = [value.requires_grad_() for name, value in family.denoiser.named_parameters() if "lora_" in name]
    for row, query in enumerate((1, 2)):
        for step, timestep in enumerate(thin.timesteps):
            noises = draw_noise(config["noise"], [(trajectory.ids[query], timestep)], LATENT, 2)
            clean = thin.clean[query, step][None].expand(2, -1, -1, -1)
            one = {"prompt_embeds": prompts[query][None].expand(2, -1, -1)}
            loss = family.objective(clean, noises, torch.tensor([timestep] * 2), one).mean()
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, chosen)])
            assert shard.read("norm")[row, step] == pytest.approx(float(gradient.norm()), rel=1e-4)
            unit = torch.from_numpy(shard.read("raw")[row, step].astype(np.float32))
            torch.testing.assert_close(unit, gradient / gradient.norm(), atol=2e-3, rtol=0)


def _sides(folder: Path, **own: Any) -> tuple[GradientRows, GradientRows]:
    generator = np.random.default_rng(0)
    asked, trained = generator.standard_normal((4, 5, P)), generator.standard_normal((20, 3, P))
    settings = {"timesteps": [950, 700, 450, 200, 10], "cache": "journey", "draws": 2, "objective": "trajectory"}
    query = write_gradients(folder / "q.safetensors", [f"q/{n}" for n in range(4)], asked, **{**settings, **own})
    train = write_gradients(folder / "t.safetensors", [f"t/{n}" for n in range(20)], trained)
    return GradientRows([query], None), GradientRows([train], None)


def test_steps_add_up_and_equal_loops(tmp_path: Path) -> None:
    queries, train = _sides(tmp_path)
    steps = step_scores(step_problem(queries, train), queries, 0.1)
    assert steps.shape == (5, 4, 20)
    np.testing.assert_allclose(
        METHODS["journey_trak"].scores(queries, train, options()), steps.sum(0), atol=1e-5 * np.abs(steps).max()
    )
    raw_q = queries.all().astype(float) * queries.norms[:, :, None]
    phi = (train.all().astype(float) * train.norms[:, :, None]).mean(1)
    second = phi.T @ phi
    inverse = np.linalg.inv(second + 0.1 * np.trace(second) / len(phi) * np.eye(P))
    for step in range(5):
        loops = [[raw_q[q, step] @ inverse @ phi[i] for i in range(20)] for q in range(4)]
        np.testing.assert_allclose(steps[step], loops, atol=1e-5 * np.abs(steps).max())


def test_queries_of_another_model_are_refused(tmp_path: Path) -> None:
    queries, train = _sides(tmp_path, model="other")
    for compute in (
        lambda: METHODS["journey_trak"].scores(queries, train, options()),
        lambda: step_problem(queries, train),
    ):
        with pytest.raises(UserError, match="'query gradients' and 'training gradients' differ in model "):
            compute()


def test_the_table_of_steps_holds_each_rate(tmp_path: Path) -> None:
    from fabricated import compress_shards

    values = np.random.default_rng(0).standard_normal((12, 3, P))
    ids = [f"t/{n}" for n in range(12)]
    train = write_gradients(tmp_path / "t.safetensors", ids, values)
    # The first step is a training sample's own gradient, the second its opposite.
    asked = np.stack([values[[0, 1]].mean(1), -values[[0, 1]].mean(1)], 1)
    query = write_gradients(tmp_path / "q.safetensors", ["q/0", "q/1"], asked, timesteps=[900, 100])
    write_samples(pd.DataFrame({"id": ids, "subset": [f"s{n % 2}" for n in range(12)]}), tmp_path / "t.parquet")
    write_samples(pd.DataFrame({"id": ["q/0", "q/1"], "subset": ["s0", "s1"]}), tmp_path / "q.parquet")
    sketches = [compress_shards([path], 32, path.with_suffix(".npy")) for path in (train, query)]
    sides = GradientSides(GradientFiles([query], sketches[1]), GradientFiles([train], sketches[0]))
    tables = SampleTables(queries=tmp_path / "q.parquet", train=tmp_path / "t.parquet")
    score_journey_steps(sides, tables, options_of("journey_trak"), [1], tmp_path / "steps.npy", tmp_path / "steps.csv")
    table = pd.read_csv(tmp_path / "steps.csv")
    assert set(table["v"]) == {32}
    assert table["timestep"].tolist() == [900, 100] and table["rate"][0] == 1.0
    assert table["chance"].tolist() == [0.5, 0.5] and table["queries"].tolist() == [2, 2]
    kept = np.load(tmp_path / "steps.npy")
    assert kept.shape == (2, 2, 12) and kept.dtype == np.float32
    np.testing.assert_allclose(kept[0] / np.abs(kept[0]).max(), -kept[1] / np.abs(kept[1]).max(), atol=1e-2)
