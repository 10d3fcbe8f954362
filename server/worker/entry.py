"""Where a worker process begins: the one function of this package that the gateway refers to."""

import socket
from multiprocessing.connection import Connection

from . import alias
from .spec import WorkerSpec


def run(sock: socket.socket, output: Connection, spec: WorkerSpec) -> None:
    """Be a worker until the gateway closes the socket pair. Runs in the worker process."""
    main = alias.import_privately("main")
    alias.forget_the_gateways_names()
    main.run(sock, output, spec)
