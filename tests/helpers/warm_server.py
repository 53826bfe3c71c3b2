"""A Python interpreter that has imported everything once and forks a child for each program it is asked to run.

``python warm_server.py LISTENER CLIENT FOLDER`` serves a listening socket. At the first request it imports Snakemake
and what the library in FOLDER imports of others. ``CLIENT SCRIPT ...``, ``CLIENT -m MODULE ...`` and ``CLIENT -c CODE``
then run like ``python`` with these arguments, in the folder, environment and streams of the client, but in a process
that starts in milliseconds. What such a program starts by ``sys.executable``, as Snakemake does its jobs, runs so too.
The library itself is imported by each child, from its own path.

The server ends with the process that holds the other end of its standard input, and takes the folder of CLIENT with it.
"""

from __future__ import annotations

import ast
import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MESSAGE = 1 << 20


def outside_imports(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every module that the files below a folder import of others, and the names that they take from it."""
    own = {folder.name, "__future__"}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name, ()) for alias in node.names if alias.name.partition(".")[0] not in own)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module.partition(".")[0] not in own:
                yield node.module, tuple(alias.name for alias in node.names)


def preload(folder: Path) -> None:
    """Import what the library and Snakemake import; no thread may run afterwards, for children would lack it."""
    for module, names in sorted({*outside_imports(folder), ("snakemake.cli", ())}):
        with suppress(ImportError):
            found = importlib.import_module(module)
            for name in names:
                # Some packages import a name when it is first asked for.
                getattr(found, name, None)
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208 (names are not needed, only how many)
        raise SystemExit("an import started a thread")
    gc.collect()
    # Collecting garbage in a child would copy every page it looks at.
    gc.freeze()


@dataclass(frozen=True)
class Program:
    """What a client asks for."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]

    def run(self, client: str, paths: list[str]) -> int:
        """Run as the interpreter would, with ``paths`` after those of the environment; return the exit status."""
        self.settle(client, paths)
        try:
            kind, *rest = self.arguments
            if kind == "-m":
                sys.argv = rest
                runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
            else:
                sys.argv = self.arguments if kind != "-c" else ["-c", *rest[1:]]
                run_code(rest[0] if kind == "-c" else Path(kind).read_text(), "<string>" if kind == "-c" else kind)
        except SystemExit as end:
            if end.code is None or isinstance(end.code, int):
                return end.code or 0
            sys.stderr.write(f"{end.code}\n")
            return 1
        except KeyboardInterrupt:
            sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            return 1
        return 0

    def settle(self, client: str, paths: list[str]) -> None:
        """Make this process what a new one would be."""
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.dont_write_bytecode = bool(self.environment.get("PYTHONDONTWRITEBYTECODE"))
        # What starts further Pythons, Snakemake for one, starts them warm.
        sys.executable = client
        first = {"-m": self.folder, "-c": ""}.get(self.arguments[0], str(Path(self.arguments[0]).resolve().parent))
        own = [path for path in self.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        # The interpreter names a folder once, at its first place; the program's own comes before all.
        sys.path[:] = [first, *dict.fromkeys([*own, *paths])]
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(int(self.environment.get("OMP_NUM_THREADS", 1)))
        # Snakemake notes the folder when it is imported.
        sys.modules["snakemake.workflow"].Workflow._rundir = self.folder


def run_code(text: str, name: str) -> None:
    """Run code as the main module."""
    main = types.ModuleType("__main__")
    if name != "<string>":
        main.__file__ = str(Path(name).absolute())
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    exec(compile(text, name, "exec"), main.__dict__)


class Server:
    """Children and the clients that wait for them."""

    def __init__(self, listener: socket.socket, client: str, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.paths = sys.path[1:]
        self.ready = False
        self.clients: dict[int, socket.socket] = {}
        self.selector = selectors.DefaultSelector()
        self.listener = listener
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(0, selectors.EVENT_READ, self.end)

    def serve(self) -> None:
        """Answer requests until standard input ends."""
        while True:
            for key, _ in self.selector.select():
                # A child and its client may end at once, and the one that is looked at first unregisters the other.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def accept(self) -> None:
        """Fork a child for a client."""
        connection, _ = self.listener.accept()
        text, streams, _, _ = socket.recv_fds(connection, MESSAGE, 3)
        part = text
        while part and not text.endswith(b"\n"):
            part = connection.recv(MESSAGE)
            text += part
        if not part:
            # The client was killed while it asked.
            connection.close()
            for stream in streams:
                os.close(stream)
            return
        if not self.ready:
            preload(self.folder)
            self.ready = True
        child = os.fork()
        if not child:
            connection.close()
            self.become(Program(**json.loads(text)), streams)
        for stream in streams:
            os.close(stream)
        self.clients[child] = connection
        ended = os.pidfd_open(child)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self.report(child, ended))
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.forward(child))

    def become(self, program: Program, streams: list[int]) -> None:
        """In a child: take the client's streams, run, and end without the interpreter's own clean-up."""
        status = 1
        try:
            for key in list(self.selector.get_map().values()):
                if key.fd:
                    os.close(key.fd)
            self.selector.close()
            for place, stream in enumerate(streams):
                os.dup2(stream, place)
                os.close(stream)
            status = program.run(self.client, self.paths)
            threading._shutdown()
            atexit._run_exitfuncs()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def end(self) -> None:
        """End, every child with it, and leave nothing, even where the one who started this was killed."""
        for child in self.clients:
            os.kill(child, signal.SIGKILL)
        shutil.rmtree(Path(self.client).parent, ignore_errors=True)
        os._exit(0)

    def forward(self, child: int) -> None:
        """Send a child the signal that its client got; kill it if the client is gone."""
        got = b""
        with suppress(ConnectionError):
            got = self.clients[child].recv(1)
        os.kill(child, got[0] if got else signal.SIGKILL)
        if not got:
            self.selector.unregister(self.clients[child])

    def report(self, child: int, ended: int) -> None:
        """Tell the client how its child ended."""
        _, status = os.waitpid(child, 0)
        connection = self.clients.pop(child)
        self.selector.unregister(ended)
        os.close(ended)
        with suppress(KeyError):
            self.selector.unregister(connection)
        with suppress(OSError):
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        connection.close()


if __name__ == "__main__":
    Server(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], Path(sys.argv[3])).serve()
