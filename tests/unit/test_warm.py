"""The warm interpreter of the tests does what the interpreter does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE_S, wait_for
from warm import warm_python, warm_server

CLIENT = Path(__file__).parents[1] / "helpers" / "warm_client.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the warm interpreter waits by means of Linux")

ENDS = {
    "without a word": "",
    "by a status": "import sys; sys.exit(3)",
    "by a sentence": "import sys; sys.exit('Error: no')",
    "by an error": "import atexit; atexit.register(print, 'cleaned up'); raise ValueError('no')",
    "by a thread's end": "import threading; threading.Timer(0.2, print, ['late']).start()",
    "by a signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "by an interrupt": "raise KeyboardInterrupt",
}
FACTS = """
import multiprocessing, os, sys
print(__name__, __file__, sys.argv, os.getcwd(), sys.stdin.read(), os.environ["MARK"], sys.path)
print(sys.stdout.isatty(), sys.stdout.encoding, sys.dont_write_bytecode, sys.version, file=sys.stderr)
"""


def run(python: str, *arguments: str, folder: Path, **variables: str) -> tuple[int, str, str]:
    """Run a Python; return its status and what it wrote."""
    environment = {**os.environ, "MARK": "x", **variables}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, input="typed", capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_program_sees_what_it_would_see(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    script = tmp_path / "place" / "facts.py"
    script.write_text(FACTS)
    for arguments in (("place/facts.py", "-x", "a b"), (str(script),)):
        cold, warm = (run(python, *arguments, folder=tmp_path) for python in (sys.executable, warm_python()))
        assert warm == cold
        assert "typed x" in warm[1]


def test_module_and_code_see_what_they_would_see(tmp_path: Path) -> None:
    (tmp_path / "facts.py").write_text(FACTS)
    code = "import sys; print(sys.argv, sys.path, __name__)"
    for arguments in (("-c", code, "a"), ("-c", "import sys; print(sys.path); sys.exit(4)"), ("-V",)):
        cold, warm = (run(python, *arguments, folder=tmp_path) for python in (sys.executable, warm_python()))
        assert warm == cold
    status, out, _ = run(warm_python(), "-m", "json.tool", "--help", folder=tmp_path)
    assert status == 0 and "JSON" in out


@pytest.mark.parametrize("code", ENDS.values(), ids=ENDS)
def test_program_ends_as_it_would(code: str, tmp_path: Path) -> None:
    (tmp_path / "end.py").write_text(code)
    cold, warm = (run(python, "end.py", folder=tmp_path) for python in (sys.executable, warm_python()))
    assert warm[:2] == cold[:2]
    # Tracebacks differ in the frames that led to the program.
    assert warm[2].splitlines()[-1:] == cold[2].splitlines()[-1:]


def test_library_is_the_one_of_the_callers_path(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "dmin").mkdir(parents=True)
        (tmp_path / name / "dmin" / "__init__.py").write_text(f"NAME = '{name}'")
        code = "import sys; assert 'dmin' not in sys.modules; import dmin; print(dmin.NAME)"
        assert run(warm_python(), "-c", code, folder=tmp_path, PYTHONPATH=str(tmp_path / name)) == (0, f"{name}\n", "")


WAITER = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path("server").write_text(str(os.getppid()))
pathlib.Path("ready").touch()
time.sleep(600)
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 9), (signal.SIGINT, -2), (signal.SIGKILL, -9)])
def test_signal_reaches_the_program(sent: signal.Signals, status: int, tmp_path: Path) -> None:
    with subprocess.Popen([warm_python(), "-c", WAITER], cwd=tmp_path, stderr=subprocess.DEVNULL) as client:
        wait_for((tmp_path / "ready").exists)
        client.send_signal(sent)
        assert client.wait(PATIENCE_S) == status
    pid = (tmp_path / "pid").read_text()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_server_outlives_a_program_and_its_client_that_end_at_once(tmp_path: Path) -> None:
    with subprocess.Popen([warm_python(), "-c", WAITER], cwd=tmp_path, stderr=subprocess.DEVNULL) as client:
        wait_for((tmp_path / "ready").exists)
        program, server = (int((tmp_path / name).read_text()) for name in ("pid", "server"))
        os.kill(server, signal.SIGSTOP)
        os.kill(program, signal.SIGKILL)
        wait_for(lambda: Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        client.kill()
        client.wait(PATIENCE_S)
        os.kill(server, signal.SIGCONT)
    assert run(warm_python(), "-c", "print('still there')", folder=tmp_path) == (0, "still there\n", "")


def test_server_outlives_a_client_that_ends_while_it_asks(tmp_path: Path) -> None:
    place = str(Path(warm_python()).parent / "socket")
    for text in (b"", b'{"arguments": ['):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(place)
            socket.send_fds(client, [text], [0, 1, 2])
    assert run(warm_python(), "-c", "print('still there')", folder=tmp_path) == (0, "still there\n", "")


def test_program_runs_without_a_server(tmp_path: Path) -> None:
    client = [sys.executable, "-IS", str(CLIENT), str(tmp_path / "socket"), "-c", "print(6 * 7)"]
    assert subprocess.run(client, capture_output=True, text=True, check=True).stdout == "42\n"


def test_failed_server_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with warm_server(tmp_path):
        status, out, _ = run(warm_python(), "-c", "import os; print(os.getppid())", folder=tmp_path)
        os.kill(int(out), signal.SIGKILL)
    assert status == 0
    assert "The warm server failed" in capsys.readouterr().err


def test_programs_end_with_the_server(tmp_path: Path) -> None:
    with warm_server(tmp_path):
        python = warm_python()
        client = subprocess.Popen([python, "-c", WAITER], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        wait_for((tmp_path / "ready").exists)
    assert "The warm server ended before the program did." in client.communicate(timeout=PATIENCE_S)[1]
    assert client.returncode == 1
    assert not Path(python).parent.exists()
    pid = (tmp_path / "pid").read_text()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
