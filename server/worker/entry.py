"""Where a worker process begins: the one function of this package that the gateway refers to."""

import socket
from multiprocessing.connection import Connection

from .spec import WorkerSpec


def run(sock: socket.socket, output: Connection, spec: WorkerSpec) -> None:
    """Be a worker until the gateway closes the socket pair. Runs in the worker process."""
    from . import main

    main.run(sock, output, spec)
