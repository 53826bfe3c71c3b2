"""The warm interpreter of a test session: where its stand-in for ``python`` is, and its beginning and end."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1] / "scripts" / "dmin"
VARIABLE = "DMIN_WARM_PYTHON"


def warm_python() -> str:
    """Return the interpreter that starts fastest: the stand-in where a server runs, else the one that runs here."""
    return os.environ.get(VARIABLE, sys.executable)


@contextmanager
def warm_server(library: Path = LIBRARY) -> Iterator[None]:
    """Run a server for this process and all that it starts, with what a library imports of others imported."""
    # A socket's path must be short, and Snakemake wants an interpreter without blanks.
    folder = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    client = folder / "python"
    command = [sys.executable, "-IS", str(HERE / "warm_client.py"), str(folder / "socket")]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    client.chmod(0o755)
    # Read when the libraries are imported, and the same for every program that a test runs.
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
    }
    environment.pop("PYTHONPATH", None)
    server = [sys.executable, str(HERE / "warm_server.py"), str(listener.fileno()), str(client), str(library)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            server, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, env=environment,
            pass_fds=[listener.fileno()], start_new_session=True,
        )  # fmt: skip
    listener.close()
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(client)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
        process.communicate()
        if process.returncode:
            sys.stderr.write(f"The warm server failed:\n{(folder / 'log').read_text()}")
        shutil.rmtree(folder, ignore_errors=True)
