"""A gradient cache that is killed anywhere continues, and ends in the very bytes of an undisturbed one."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import PATIENCE_S
from tiny_pipeline import gradient_config, make_shard, random_samples

from dmin.gradients.gradient_pass import GradientPass
from dmin.gradients.shard import Shard
from dmin.runtime import progress
from dmin.runtime.progress import Progress

# 15 evaluations in micro-batches of 4 are four micro-batches.
BATCHES = 4

# Settings that the log knows by another name.
_NAMES = {"keep_raw": "arrays"}

Make = Any


class _Killed(BaseException):
    """What no handler catches, as a kill."""


@pytest.fixture(scope="module")
def make(tiny_base: Mapping[str, Any], tiny_adapter: Path, tiny_samples: Path) -> Make:
    def run(out: Path, samples: Path = tiny_samples, batch: int = 4, **changes: Any) -> Shard:
        return make_shard(out, tiny_base, tiny_adapter, samples, gradient_config(**changes), batch=batch)

    return run


@pytest.fixture(scope="module")
def whole(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return make(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the size of every micro-batch that is computed to its end."""
    sizes: list[int] = []
    compute = GradientPass.compute

    def count(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        result = compute(self, rows)
        sizes.append(len(rows))
        return result

    monkeypatch.setattr(GradientPass, "compute", count)
    return sizes


def _die_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    compute, calls = GradientPass.compute, 0

    def die(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls > batches:
            raise _Killed
        return compute(self, rows)

    monkeypatch.setattr(GradientPass, "compute", die)


def _interrupt(make: Make, monkeypatch: pytest.MonkeyPatch, out: Path, batches: int, **changes: Any) -> None:
    with monkeypatch.context() as patch:
        _die_after(patch, batches)
        with pytest.raises(_Killed):
            make(out, **changes)


def _clean(shard: Shard) -> bool:
    return not (shard.path.parent / ".resume").exists()


@pytest.mark.parametrize("batches", range(BATCHES))
def test_kill_between_micro_batches_loses_at_most_one(
    batches: int, make: Make, whole: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    _interrupt(make, monkeypatch, tmp_path, batches)
    assert not (tmp_path / whole.path.name).exists()
    computed.clear()
    shard = make(tmp_path)
    assert computed == [4, 4, 4, 3][batches:]
    assert shard.path.read_bytes() == whole.path.read_bytes()
    assert _clean(shard)


@pytest.mark.fault("kill between rows and their count", "the rows are made again; the same bytes")
@pytest.mark.parametrize("stores", range(1, BATCHES + 1))
def test_kill_before_a_stored_micro_batch_is_counted(
    stores: int, make: Make, whole: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    write_json, calls = progress.write_json, 0

    def die(obj: Any, path: Path) -> None:
        nonlocal calls
        calls += "rows" in obj
        if calls == stores:
            raise _Killed
        write_json(obj, path)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "write_json", die)
        with pytest.raises(_Killed):
            make(tmp_path)
    computed.clear()
    shard = make(tmp_path)
    assert computed == [4, 4, 4, 3][stores - 1 :]
    assert shard.path.read_bytes() == whole.path.read_bytes()


def test_kill_after_the_last_micro_batch_computes_nothing_again(
    make: Make, whole: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dmin.gradients.make_shard.write_shard", lambda *_: (_ for _ in ()).throw(_Killed()))
        with pytest.raises(_Killed):
            make(tmp_path)
    computed.clear()
    assert make(tmp_path).path.read_bytes() == whole.path.read_bytes()
    assert computed == []


@pytest.mark.fault("SIGKILL, gradient cache", "loses at most one micro-batch and continues to the same bytes")
def test_sigkill_in_a_real_process(make: Make, whole: Shard, tmp_path: Path, computed: list[int]) -> None:
    def work() -> None:
        compute = GradientPass.compute
        calls = 0

        def die(self: GradientPass, rows: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
            nonlocal calls
            calls += 1
            if calls == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return compute(self, rows)

        GradientPass.compute = die  # type: ignore[method-assign]
        make(tmp_path)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(timeout=PATIENCE_S)
    process.kill()
    assert process.exitcode == -signal.SIGKILL
    assert list((tmp_path / ".resume").iterdir())
    assert make(tmp_path).path.read_bytes() == whole.path.read_bytes()
    assert computed == [4, 3]


def test_resuming_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _interrupt(make, monkeypatch, tmp_path, 2)
    with caplog.at_level(logging.INFO, logger="dmin"):
        make(tmp_path)
    assert "resuming after 8 of 15 evaluations" in caplog.text


@pytest.mark.fault("config changed while a cache was unfinished", "starts afresh and names the setting")
@pytest.mark.parametrize(
    "changes",
    [
        {"sketch_seed": 6},
        {"cache_dim": 512},
        {"noise": {"policy": "by_id", "seed": 4}},
        {"timesteps": {"grid": "custom", "count": 3, "custom": [901, 500, 100]}},
        {"parameters": "regex:lora_"},
        {"keep_raw": False},
        {"precision": "bfloat16"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changed_settings_start_afresh(
    changes: dict[str, Any],
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computed: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _interrupt(make, monkeypatch, tmp_path / "cut", 2)
    computed.clear()
    with caplog.at_level(logging.INFO, logger="dmin"):
        changed = make(tmp_path / "cut", **changes)
    assert sum(computed) == 15
    told = re.search("starting afresh: (.*) changed since", caplog.text)
    assert told is not None and _NAMES.get(next(iter(changes)), next(iter(changes))) in told[1].split(", ")
    assert _clean(changed)
    assert changed.path.read_bytes() == make(tmp_path / "new", **changes).path.read_bytes()


def test_changed_data_start_afresh(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    random_samples(5, seed=9).save(tmp_path / "other.safetensors")
    _interrupt(make, monkeypatch, tmp_path / "cut", 2)
    computed.clear()
    changed = make(tmp_path / "cut", tmp_path / "other.safetensors")
    assert sum(computed) == 15
    fresh = make(tmp_path / "new", tmp_path / "other.safetensors")
    assert changed.path.read_bytes() == fresh.path.read_bytes()


def test_another_batch_size_goes_on_with_what_is_done(
    make: Make, whole: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    _interrupt(make, monkeypatch, tmp_path, 2)
    computed.clear()
    shard = make(tmp_path, batch=5)
    assert computed == [5, 2]
    np.testing.assert_allclose(shard.read("norm"), whole.read("norm"), rtol=1e-5)
    assert np.array_equal(shard.read("norm").flat[:8], whole.read("norm").flat[:8])
    difference = shard.read("sketch").astype(np.float64) - whole.read("sketch")
    assert np.linalg.norm(difference, axis=-1).max() < 1e-3


class _Unreadable:
    """Stands for rows whose writing is cut off."""

    def cpu(self) -> None:
        raise _Killed


def _progress(root: Path, shapes: dict[str, Any], name: str = "one", **settings: Any) -> Progress:
    return Progress(root, name, settings, shapes)


def test_progress_counts_only_whole_micro_batches(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {"sketch": ((5, 2), np.float16), "norm": ((5,), np.float32)}
    rows = {"sketch": torch.arange(10.0).view(5, 2).half(), "norm": torch.arange(5.0)}
    first = _progress(tmp_path / "a", shapes)
    first.store({name: value[:2] for name, value in rows.items()})
    torn: dict[str, Any] = {"sketch": -rows["sketch"][2:4], "norm": _Unreadable()}
    with pytest.raises(_Killed):
        first.store(torn)

    second = _progress(tmp_path / "a", shapes)
    assert second.done == 2
    second.store({name: value[2:] for name, value in rows.items()})
    third = _progress(tmp_path / "a", shapes)
    assert third.done == 5
    for name, value in rows.items():
        assert np.array_equal(third.arrays[name], value.numpy())
    third.discard()
    assert not (tmp_path / "a").exists()


def test_stale_progress_is_removed_and_the_change_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shapes: dict[str, Any] = {"norm": ((2,), np.float32)}
    _progress(tmp_path, shapes, timesteps=[9, 5], seed=1).store({"norm": torch.ones(1)})
    with caplog.at_level(logging.INFO, logger="dmin"):
        fresh = _progress(tmp_path, shapes, timesteps=[9, 4], seed=1)
    assert fresh.done == 0 and not fresh.arrays["norm"].any()
    assert "starting afresh: timesteps changed" in caplog.text and "seed" not in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [fresh.folder.name]


def test_one_shard_leaves_the_progress_of_another_alone(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {"norm": ((2,), np.float32)}
    root = tmp_path / ".resume"
    one = _progress(root, shapes, "00000000-00000002")
    other = _progress(root, shapes, "00000002-00000004")
    other.store({"norm": torch.ones(1)})
    one.discard()
    assert _progress(root, shapes, "00000002-00000004").done == 1
    other.discard()
    assert not root.exists()
