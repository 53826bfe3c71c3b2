"""The training loop and its resumable state."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from regression import CONFIG, Killed, Problem, same

from dmin.models.training import state as training_state
from dmin.models.training.schedule import cosine_rate
from dmin.runtime.errors import UserError


@pytest.mark.fault("kill at any step of training", "continues from the last saved step to the same bits")
@pytest.mark.parametrize("die_at", [1, 3, 4, 6, 10])
def test_resumed_training_equals_uninterrupted_bit_for_bit(tmp_path: Path, die_at: int) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 11]

    with pytest.raises(Killed):
        Problem("a", tmp_path / "cut", die_at).run()
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows
    assert resumed.asked == list(range(die_at // 3 * 3, 11))
    assert same(resumed, whole)


def test_two_interruptions_in_a_row(tmp_path: Path) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    for die_at in (5, 8):
        with pytest.raises(Killed):
            Problem("a", tmp_path / "cut", die_at).run()
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows and same(resumed, whole)


@pytest.mark.fault("kill while the training state is written", "the state before stands; continues to the same bits")
def test_kill_while_saving_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    saved: list[Any] = []
    save_file: Callable[..., None] = training_state.save_file

    def die_on_second(payload: Any, path: Path, metadata: Any) -> None:
        saved.append(metadata)
        save_file(payload, path, metadata=metadata)
        if len(saved) == 2:
            path.write_bytes(path.read_bytes()[:100])
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training_state, "save_file", die_on_second)
        with pytest.raises(Killed):
            Problem("a", tmp_path / "cut").run()
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows and same(resumed, whole)
    assert resumed.asked[0] == 3


def test_changed_digest_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        Problem("a", tmp_path, die_at=7).run()
    changed = Problem("b", tmp_path)
    changed.run()
    assert changed.asked == list(range(11))


def test_discard_removes_its_own_state_only(tmp_path: Path) -> None:
    folder = tmp_path / ".resume"
    problems = [Problem(digest, folder, die_at=7) for digest in ("a", "b")]
    for problem in problems:
        with pytest.raises(Killed):
            problem.run()
    problems[0].state.discard()
    assert [path.name for path in folder.iterdir()] == ["b"]
    problems[1].state.discard()
    assert not folder.exists()
    problems[1].state.discard()


@pytest.mark.fault("a loss that is not a number, in training", "ends and names the step")
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_at_its_step(tmp_path: Path, bad: float) -> None:
    problem = Problem("a", tmp_path)
    losses = problem.loss_at
    problem.loss_at = lambda step: losses(step) * (bad if step == 4 else 1.0)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=f"Training the toy: the loss is {bad} at step 5; lower learning_rate"):
        problem.run()


def test_training_learns(tmp_path: Path) -> None:
    rows = Problem("a", tmp_path).run()
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_learning_rate_warms_up_and_decays() -> None:
    def rate(step: int, steps: int, warmup: int) -> float:
        return cosine_rate({**CONFIG, "learning_rate": 1.0, "steps": steps, "warmup_steps": warmup}, step)

    rates = [rate(step, 12, 4) for step in range(13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0 and rates[8] == pytest.approx(0.5) and rates[12] == pytest.approx(0.0)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rate(0, 1, 0) == 1.0
    assert rate(2, 2, 2) == 1.0
