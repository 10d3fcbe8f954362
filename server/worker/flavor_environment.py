"""The process that has imported what models of a flavor need, and forks theirs."""

import contextlib
import importlib
import json
import logging
import os
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import sharing
from .environment import run_target
from .forking import ForkLoop
from .logs import configure_logging
from .preload import keep
from .process import become_nice


def run(descriptors: list[int]) -> None:
    """Import, say that it is done, and fork until the gateway closes the channel. Runs in a process
    that comes from the environment process.

    Args:
        descriptors: A channel that brings a JSON object until it ends: `modules` to import, whether
            to be `nice` about it, and `log_level`; and the channel for `ForkLoop`.
    """
    first, forks = descriptors
    with socket.socket(fileno=first) as told, told.makefile("rb") as reader:
        packet = reader.read()
    if not packet:
        return
    flavor: dict[str, Any] = json.loads(packet)
    channel = socket.socket(fileno=forks)
    unfit = _import(flavor["modules"], nice=flavor["nice"])
    # Libraries bring handlers of their own.
    configure_logging(flavor["log_level"])
    with contextlib.suppress(BrokenPipeError):
        if unfit is None:
            channel.send(json.dumps({"ready": []}).encode())
            ForkLoop(channel, run_target).run()
        else:
            channel.send(json.dumps({"unfit": unfit}).encode())
            # Until that is read: of a process that has ended, nothing counts.
            channel.recv(1)
    # Nothing is left to do, and what was imported may take long over its end.
    os._exit(0)


def _import(modules: Iterable[str], *, nice: bool) -> str | None:
    """Import modules, and return why nothing can be forked then, if so."""
    before = sharing.look()
    # Niceness belongs to a thread and can't be taken back, and what is forked from this one is not
    # to have it.
    with ThreadPoolExecutor(1, initializer=become_nice if nice else None) as thread:
        failed = thread.submit(_import_installed, modules).result()
    keep()
    own = threading.get_native_id()
    return failed or sharing.what_forbids_forking(before, threads=[own], who="a library")


def _import_installed(modules: Iterable[str]) -> str | None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Loading the model tells of what it needs.
            logging.getLogger(__name__).debug("can't preload %s: %s", name, error)
        except BaseException as error:  # sys.exit in a library, too
            return f"can't preload {name}: {error!r}"
    return None
