"""Long jobs end by themselves: before their time limit, on a signal, and when attempts get nowhere."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import is_killed
from regression import Problem, same
from tiny_pipeline import make_shard

from dmin.runtime import deadline, progress, sidecar
from dmin.runtime.deadline import StopRequest, process_age
from dmin.runtime.errors import UserError
from dmin.runtime.progress import Progress
from dmin.runtime.readers import read_json
from dmin.runtime.sidecar import count_attempt, only_writer
from dmin.runtime.temporaries import remove_if_empty


class _Clock:
    """Stands for the time module: the seconds are those that a test sets."""

    CLOCK_BOOTTIME = 0

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    fake = _Clock()
    monkeypatch.setattr(deadline, "time", fake)
    monkeypatch.setattr(deadline, "process_age", lambda: 0.0)
    return fake


def test_no_limit_is_never_due(clock: _Clock) -> None:
    request = StopRequest()
    clock.now += 1e9
    assert request.due() is None


# The margin is a minute or 5 %, and at most half of the limit.
@pytest.mark.parametrize(("minutes", "last"), [(1, 30), (2, 60), (10, 540), (60, 3420), (0, 0)])
def test_limit_is_near_a_margin_before_it(clock: _Clock, minutes: int, last: float) -> None:
    for offset, due in ((-0.5, False), (0.5, True)):
        clock.now = 1000.0
        request = StopRequest(minutes)
        clock.now += max(0.0, last + offset)
        reason = request.due()
        assert (reason is not None) == (due or minutes == 0)
        assert reason is None or f"time limit of {minutes} minutes is near" in reason


def test_a_step_that_would_not_end_in_time_is_not_begun(clock: _Clock) -> None:
    request = StopRequest(10)
    for _ in range(2):
        assert request.due() is None
        clock.now += 200
    # 400 s are gone and the next step ends at 600 s, after the 540 s.
    assert request.due() is not None


def test_time_before_the_request_counts(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "process_age", lambda: 541.0)
    assert StopRequest(10).due() is not None


def test_age_of_this_process_is_known() -> None:
    assert 0 < process_age() < 7200


def test_signals_ask_once_and_are_put_back() -> None:
    before = [signal.getsignal(number) for number in deadline.SIGNALS]
    for number in deadline.SIGNALS:
        with StopRequest() as request:
            assert request.due() is None
            os.kill(os.getpid(), number)
            assert request.due() == f"{signal.Signals(number).name} came"
            # The second one of the kind is not held up.
            assert signal.getsignal(number) == before[deadline.SIGNALS.index(number)]
    assert [signal.getsignal(number) for number in deadline.SIGNALS] == before


class _After:
    """A request that is due after some questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def due(self) -> str | None:
        self.left -= 1
        return "its time limit of 1 minutes is near" if self.left < 0 else None


@pytest.mark.fault(
    "time limit near, training", "ends by itself, saved at its last step, and continues to the same bits"
)
@pytest.mark.parametrize("steps", [1, 3, 7])
def test_training_ends_before_the_limit_and_loses_no_step(tmp_path: Path, steps: int) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    with pytest.raises(UserError, match=rf"^Training the toy ends after step {steps} of 11, saved, because its time"):
        Problem("a", tmp_path / "cut").run(_After(steps))
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows and same(resumed, whole)
    assert resumed.asked == list(range(steps, 11))


@pytest.mark.fault("SIGTERM, training", "ends after its step, saved, and continues to the same bits")
def test_sigterm_ends_training_after_its_step(tmp_path: Path) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    cut = Problem("a", tmp_path / "cut")
    losses: Callable[[int], torch.Tensor] = cut.loss_at

    def signalled(step: int) -> torch.Tensor:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(step)

    cut.loss_at = signalled  # type: ignore[method-assign]
    with StopRequest() as request, pytest.raises(UserError, match="after step 5 of 11, saved, because SIGTERM came"):
        cut.run(request)
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows and same(resumed, whole)


@pytest.mark.fault("SIGKILL at random moments of training", "continues to the same bits, however often")
def test_sigkill_at_random_moments_of_training(tmp_path: Path) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()

    def work() -> None:
        problem = Problem("a", tmp_path / "cut")
        losses: Callable[[int], torch.Tensor] = problem.loss_at

        def slow(step: int) -> torch.Tensor:
            time.sleep(0.02)
            return losses(step)

        problem.loss_at = slow  # type: ignore[method-assign]
        problem.run()

    killed = 0
    for moment in np.random.default_rng(0).uniform(0.02, 0.2, 4):
        killed += is_killed(moment, work)
    assert killed
    # On a machine so slow that nothing was saved, attempts would be refused, which is another test's matter.
    (tmp_path / "cut" / "a" / "attempts.json").unlink(missing_ok=True)
    resumed = Problem("a", tmp_path / "cut")
    assert resumed.run() == rows and same(resumed, whole)


@pytest.mark.fault(
    "attempts that save nothing", "the third in a row is refused and says so; a run after that tries again"
)
def test_training_without_progress_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match="ends after step 0 of 11"):
            Problem("a", tmp_path).run(_After(0))
    with pytest.raises(UserError, match=r"^Training the toy made no progress: the last 2 attempts both began after 0"):
        Problem("a", tmp_path).run(_After(0))
    assert len(Problem("a", tmp_path).run()) == 6


def test_attempts_that_get_on_are_not_counted(tmp_path: Path) -> None:
    note = tmp_path / "attempts.json"
    for done in (0, 0, 4, 4, 5, 6, 7):
        count_attempt(note, done, "x")
    assert read_json(note) == {"done": 7, "attempts": 1}


@pytest.mark.fault("a torn note of unfinished work", "left out with a warning; the work goes on")
def test_torn_note_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = tmp_path / "attempts.json"
    for _ in range(2):
        count_attempt(note, 3, "x")
    note.write_text(note.read_text().replace("3", "5"))
    count_attempt(note, 3, "x")
    assert read_json(note) == {"done": 3, "attempts": 1}
    assert "attempts.json' is torn (it fails its checksum)" in caplog.text


@pytest.mark.fault(
    "time limit near, gradient cache", "ends by itself after a micro-batch and continues to the same bytes"
)
def test_cache_ends_before_the_limit_and_loses_no_row(
    tiny_base: Mapping[str, Any],
    tiny_adapter: Path,
    tiny_samples: Path,
    tmp_path: Path,
) -> None:
    def make(folder: str, request: Any = None) -> Path:
        return make_shard(tmp_path / folder, tiny_base, tiny_adapter, tiny_samples, request=request).path

    with pytest.raises(UserError, match="ends after 8 of 15 rows, saved, because its time limit"):
        make("cut", _After(2))
    assert make("cut").read_bytes() == make("whole").read_bytes()


@pytest.mark.fault(
    "a second writer of the same work", "refused, and the holder is named; the lock dies with its process"
)
def test_lock_keeps_a_second_process_out_and_dies_with_the_first(tmp_path: Path) -> None:
    folder = tmp_path / ".resume"
    context = multiprocessing.get_context("fork")
    ready, child = context.Pipe()

    def hold() -> None:
        with only_writer(folder, "one"):
            child.send(os.getpid())
            signal.pause()

    process = context.Process(target=hold)
    process.start()
    number = ready.recv()
    locked = pytest.raises(UserError, match=rf"one\.lock' is locked: process {number} on .* writes there; wait for it")
    with locked, only_writer(folder, "one"):
        pytest.fail("entered a locked folder")
    with only_writer(folder, "two"):
        pass
    process.kill()
    process.join()
    assert (folder / "one.lock").exists()
    with only_writer(folder, "one"):
        assert (folder / "one.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not folder.exists()


def test_lock_whose_file_is_removed_meanwhile_is_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, calls = sidecar.fcntl.flock, 0

    def late(handle: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            # The holder before ends between the opening and the locking of its file.
            (tmp_path / ".resume" / "one.lock").unlink()
        flock(handle, operation)

    monkeypatch.setattr(sidecar.fcntl, "flock", late)
    with only_writer(tmp_path / ".resume", "one"):
        assert calls == 2 and (tmp_path / ".resume" / "one.lock").exists()


@pytest.mark.fault("a job ends as another one of its folder does", "both end well, whoever removes the folder first")
def test_folder_that_another_writer_removes_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, opened = tmp_path / ".resume", os.open

    def late(path: Path, *rest: int) -> int:
        # Another writer ends between the making of the folder and of the file, once.
        monkeypatch.setattr(sidecar.os, "open", opened)
        folder.rmdir()
        return opened(path, *rest)

    monkeypatch.setattr(sidecar.os, "open", late)
    with only_writer(folder, "one"):
        assert (folder / "one.lock").exists()
    assert not folder.exists()
    remove_if_empty(folder)
    with only_writer(folder, "one"), only_writer(folder, "two"):
        remove_if_empty(folder)
        assert sorted(file.name for file in folder.iterdir()) == ["one.lock", "two.lock"]
    assert not folder.exists()


def test_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: int) -> None:
        raise OSError(sidecar.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(sidecar.fcntl, "flock", none)
    with caplog.at_level(logging.WARNING, logger="dmin"), only_writer(tmp_path / ".resume", "one"):
        pass
    assert "cannot be locked" in caplog.text


@pytest.mark.fault("saved training state truncated or flipped", "left out with a warning; training starts afresh")
@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_state_starts_afresh(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = Problem("a", tmp_path / "whole")
    rows = whole.run()
    with pytest.raises(UserError):
        Problem("a", tmp_path / "cut").run(_After(5))
    path = tmp_path / "cut" / "a" / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"cut": bytes(data[:-9]), "flip": bytes(data), "empty": b""}[damage])
    resumed = Problem("a", tmp_path / "cut")
    with caplog.at_level(logging.WARNING, logger="dmin"):
        assert resumed.run() == rows and same(resumed, whole)
    assert resumed.asked == list(range(11)) and "starting afresh: the saved state" in caplog.text


@pytest.mark.fault("unfinished rows of a cache truncated or flipped", "found by their checksum and made again")
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damaged_rows_start_afresh(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    shapes: dict[str, Any] = {"sketch": ((5, 2), np.float16), "norm": ((5,), np.float32)}
    first = Progress(tmp_path, "one", {}, shapes)
    for _ in range(2):
        first.store({"sketch": torch.ones(2, 2).half(), "norm": torch.ones(2)})
    assert Progress(tmp_path, "one", {}, shapes).done == 4
    path = first.folder / "sketch.npy"
    data = bytearray(path.read_bytes())
    # The third row, after a header of 128 bytes.
    data[128 + 9] ^= 1
    {
        "cut": lambda: path.write_bytes(data[:-4]),
        "flip": lambda: path.write_bytes(data),
        "gone": path.unlink,
    }[damage]()
    with caplog.at_level(logging.WARNING, logger="dmin"):
        again = Progress(tmp_path, "one", {}, shapes)
    assert again.done == 0 and "rows of the unfinished job" in caplog.text
    assert not again.arrays["sketch"].any()
    assert progress.BLOCK_ROWS > 1
