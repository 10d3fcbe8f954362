"""The process that all others come from: it has imported what they need, and forks them."""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
from multiprocessing import resource_tracker
from typing import Any

from . import alias
from .descendants import children
from .forking import COORDINATED, LONGEST_PACKET, ForkLoop, name_process
from .hiding import hide_process


def main(descriptor: int) -> None:
    """Import, say that it is done, and fork until the gateway closes the channel.

    Args:
        descriptor: The channel. The first packet is a JSON object: `path` and `argv` (what `sys`
            has under these names in the gateway), `modules` to import, `preload`, modules that
            models may need, and `log_level`.
    """
    hide_process()
    channel = socket.socket(fileno=descriptor)
    if not (packet := channel.recv(LONGEST_PACKET)):
        return
    told: dict[str, Any] = json.loads(packet)
    sys.path[:] = told["path"]
    sys.argv = told["argv"]
    name_process("environment")
    # One for all, outside the workers' process groups: it cleans up the shared memory of those
    # that were killed. It lifts the signal mask when it starts.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, COORDINATED)
    for name in told["modules"]:
        importlib.import_module(name)
    alias.import_privately("preload").preload(told["preload"])
    alias.import_privately("process").prepare_environment(told["log_level"])
    with contextlib.suppress(BrokenPipeError):
        channel.send(json.dumps({"ready": [child.pid for child in children()]}).encode())
    ForkLoop(channel, run_target).run()
    # Nothing is left to do, and what was imported may take long over its end.
    os._exit(0)


def run_target(target: str, descriptors: list[int]) -> None:
    """What a child does: the function that is called `MODULE:FUNCTION`."""
    module, _, function = target.partition(":")
    getattr(importlib.import_module(module), function)(descriptors)
