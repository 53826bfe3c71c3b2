"""A training in one process or several.

``torchrun --nproc-per-node N -m dmin.models.training.launch FILE``, or ``accelerate launch`` in its place, runs the
training that a file of :func:`launch_training` describes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from dmin.models.training.pace import TrainingPace
from dmin.models.training.processes import Processes
from dmin.models.training.task import TrainingTask
from dmin.models.training.train_model import train_model
from dmin.runtime.deadline import StopRequest, process_age
from dmin.runtime.errors import UserError

# How long the main process may still save once another has ended.
GRACE_SECONDS = 120.0


def launch_training(
    task: TrainingTask, pace: TrainingPace, processes: int, runtime: float | None, log_file: Path
) -> None:
    """Run :func:`train_model` here, or in several processes of this machine, one for each GPU.

    SIGTERM and SIGINT are handed on, and the processes agree on the step that they end after.

    Args:
        pace: ``device``, ``save_every`` and ``code``; who asks for the end, and the processes, are found here.
        runtime: the limit of this job in minutes since its process began; None for no limit.
        log_file: where the main one of several processes logs.

    Raises:
        UserError: as :func:`train_model`, or a process died.
    """
    if processes == 1:
        with StopRequest(runtime) as request:
            train_model(task, replace(pace, request=request))
        return
    left = None if runtime is None else runtime - process_age() / 60
    given = {"task": task.to_json(), "device": pace.device, "save_every": pace.save_every, "code": pace.code}
    with tempfile.TemporaryDirectory(prefix="dmin-training-") as folder, StopRequest() as request:
        file = Path(folder, "training.json")
        file.write_text(json.dumps({**given, "runtime": left, "log": str(log_file)}))
        workers = _start_workers(file, processes)
        if _wait_for(workers, request):
            sentence = file.with_suffix(".error")
            raise UserError(
                sentence.read_text()
                if sentence.exists()
                else f"A process of the training died; see '{log_file}', or set compute.train_processes to 1."
            )


def _start_workers(file: Path, count: int) -> list[subprocess.Popen[bytes]]:
    """Start the processes of a training as torchrun would, but for its habit of sending each signal twice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "dmin.models.training.launch", str(file)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)},
        )
        for rank in range(count)
    ]


def _wait_for(workers: Sequence[subprocess.Popen[bytes]], request: StopRequest) -> bool:
    """Wait for all workers, handing a signal on once; return whether one failed.

    One that failed leaves the others waiting for it, so these are ended after a grace.
    """
    told, failed_at = False, None
    while any(worker.poll() is None for worker in workers):
        if not told and request.due():
            for worker in workers:
                worker.terminate()
            told = True
        if failed_at is None and any(worker.poll() for worker in workers):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > GRACE_SECONDS:
            for worker in workers:
                worker.kill()
        time.sleep(0.1)
    return any(worker.returncode for worker in workers)


def main(file: Path) -> int:
    """Take part in the training that ``file`` describes; return the exit status."""
    given = json.loads(file.read_text())
    # Before anything slow: a signal that comes meanwhile is a request too.
    with StopRequest(given["runtime"]) as request:
        processes = Processes(Accelerator(cpu=given["device"] == "cpu"))
        if processes.main:
            logging.basicConfig(filename=given["log"], format="%(asctime)s %(levelname)s %(message)s")
            logging.getLogger("dmin").setLevel(logging.INFO)
        try:
            pace = TrainingPace(given["device"], given["save_every"], request, processes, given["code"])
            train_model(TrainingTask.from_json(given["task"]), pace)
        except UserError as error:
            if processes.main:
                file.with_suffix(".error").write_text(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
