"""Stands in for ``python``: has the warm server run a program, passes signals on, and ends as the program ends.

``python -IS warm_client.py SOCKET ARGUMENT...``; other calls the interpreter runs itself.
Imports little: every job of a test starts it.
"""

import json
import os
import signal
import socket
import sys

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(address: str, arguments: list[str]) -> None:
    """Run the program and end with its status."""
    if not arguments or not (arguments[0] in ("-m", "-c") or arguments[0].endswith(".py")):
        os.execv(sys.executable, [sys.executable, *arguments])
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(address)
    except OSError:
        # Without a server a program takes longer and does the same.
        os.execv(sys.executable, [sys.executable, *arguments])
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: server.send(bytes([got])))
    folder = os.getcwd()  # noqa: PTH109 (pathlib takes longer to import than all the rest)
    request = {"arguments": arguments, "folder": folder, "environment": dict(os.environ)}
    text = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(server, [text], [0, 1, 2])
    server.sendall(text[sent:])
    answer = server.recv(64)
    if not answer:
        sys.exit("The warm server ended before the program did.")
    status = int(answer)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
