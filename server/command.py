"""What the command line does: reads the settings, and serves."""

import asyncio
import os
import sys

import uvloop

from server.log import configure_logging
from server.processes.hiding import hide_process
from server.service import serve
from server.settings import BadSettings, help_text, read_settings


def main(arguments: list[str]) -> int:
    """Run the server and return the exit code: 0 after a signal, 2 for bad settings, else 1."""
    if arguments in (["--help"], ["-h"]):
        print(help_text())
        return 0
    if arguments:
        print(f"server: unknown argument {arguments[0]!r}; try --help", file=sys.stderr)
        return 2
    try:
        settings = read_settings()
    except BadSettings as error:
        print(f"server: {error}", file=sys.stderr)
        return 2
    # Read; what runs in the workers must not find it.
    secrets = [name for name in os.environ if name.upper() == "RELOAD_TOKEN"]
    for name in secrets:
        del os.environ[name]
    if secrets:
        hide_process()
    configure_logging(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except OSError as error:
        print(f"server: {error}", file=sys.stderr)
        return 1
    return 0
