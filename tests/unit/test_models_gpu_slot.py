"""Jobs of a workstation with several GPUs: each takes one of its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dmin.runtime import gpu_slot
from dmin.runtime.device import resolve_device
from dmin.runtime.errors import UserError

TAKE = """
import sys
from pathlib import Path
from dmin.runtime.gpu_slot import take_gpu
first = take_gpu(["0", "1"], Path(sys.argv[1]))
print(first, take_gpu(["0", "1"], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class Job:
    """A process that takes one of two GPUs and keeps it until it is told to end."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def taken(self) -> list[str]:
        """Return what it got, asked twice."""
        assert self._process.stdout
        return self._process.stdout.readline().split()

    def end(self) -> None:
        """Kill it, as a job may be killed."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Let this process hold no GPU before and after, and keep its locks to itself."""
    monkeypatch.setattr(gpu_slot, "_held", None)
    monkeypatch.setattr(gpu_slot, "lock_folder", lambda: tmp_path / "locks")
    yield tmp_path / "locks"
    if gpu_slot._held:
        os.close(gpu_slot._held[0])


def test_jobs_at_a_time_share_no_gpu_until_there_are_more_of_them(tmp_path: Path) -> None:
    jobs = [Job(tmp_path) for _ in range(4)]
    try:
        taken = [job.taken() for job in jobs[:4]]
        assert all(first == again for first, again in taken)
        assert sorted(first for first, _ in taken) == ["0", "0", "1", "1"]
    finally:
        for job in jobs:
            job.end()


def test_second_job_gets_the_other_gpu_and_a_killed_job_frees_its_own(tmp_path: Path) -> None:
    first, second = Job(tmp_path), None
    try:
        assert first.taken() == ["0", "0"]
        second = Job(tmp_path)
        assert second.taken() == ["1", "1"]
        first.end()
        first = Job(tmp_path)
        assert first.taken() == ["0", "0"]
    finally:
        first.end()
        if second:
            second.end()


def test_lock_files_are_this_users_alone(unheld: Path) -> None:
    gpu_slot.take_gpu(["GPU-1/2", "1"])
    assert stat.S_IMODE(unheld.stat().st_mode) == 0o700
    assert stat.S_IMODE((unheld / "GPU-1_2.0.lock").stat().st_mode) == 0o600


@pytest.mark.attack(
    "rest", "a link planted in the place of the GPU locks' folder", "refused; its target stays as it is"
)
def test_planted_link_is_not_followed(unheld: Path) -> None:
    target = unheld.parent / "another"
    target.mkdir(mode=0o755)
    unheld.symlink_to(target)
    with pytest.raises(UserError, match="is a link or no folder"):
        gpu_slot.take_gpu(["0", "1"])
    assert stat.S_IMODE(target.stat().st_mode) == 0o755 and not list(target.iterdir())


@pytest.mark.attack("rest", "a link planted in the place of a GPU lock", "refused; nothing is made where it leads")
def test_planted_lock_is_not_followed(unheld: Path) -> None:
    unheld.mkdir(mode=0o700)
    (unheld / "0.0.lock").symlink_to(unheld.parent / "victim")
    with pytest.raises(UserError, match="is a link; remove the folder"):
        gpu_slot.take_gpu(["0", "1"])
    assert not (unheld.parent / "victim").exists()


@pytest.mark.attack("rest", "a folder of GPU locks that others may write to", "refused, and named")
def test_folder_that_others_may_write_to_is_refused(unheld: Path) -> None:
    unheld.mkdir()
    unheld.chmod(0o777)
    with pytest.raises(UserError, match="open to other users; remove it, or set TMPDIR"):
        gpu_slot.take_gpu(["0", "1"])
    assert stat.S_IMODE(unheld.stat().st_mode) == 0o777


@pytest.mark.parametrize("name", ["../x\0", "a\x1b[2J", ""])
def test_name_that_is_no_gpus_is_refused(name: str, unheld: Path) -> None:
    with pytest.raises(UserError, match="is no name of one"):
        gpu_slot.take_gpu([name, "1"])


def test_names_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_slot.visible_gpus(2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    assert gpu_slot.visible_gpus(2) == ["2", "5"]
    # An entry that does not exist hides itself and what follows.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,9")
    assert gpu_slot.visible_gpus(2) == ["0", "1"]


def test_device_is_one_of_several_gpus(monkeypatch: pytest.MonkeyPatch, unheld: Path) -> None:
    current: list[torch.device] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    other = Job(unheld)
    try:
        assert other.taken() == ["0", "0"]
        assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 1)
        assert current == [torch.device("cuda", 1)] * 2
    finally:
        other.end()


@pytest.mark.parametrize(("count", "name", "device"), [(1, "auto", "cuda"), (1, "cuda", "cuda"), (4, "cpu", "cpu")])
def test_nothing_is_locked_where_there_is_nothing_to_choose(
    count: int, name: str, device: str, monkeypatch: pytest.MonkeyPatch, unheld: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert resolve_device(name) == torch.device(device)
    assert not unheld.exists()
