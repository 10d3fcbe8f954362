"""What the command line does: reads the settings, and serves."""

import asyncio
import contextlib
import os
import sys

import uvloop

from server.log import logging_to_standard_output
from server.processes.memory import give_back_large_blocks
from server.reading import BadSettings, read_settings
from server.redaction import hide_credentials, hide_token, redact
from server.service import serve
from server.standard_streams import open_standard_streams
from server.usage import help_text
from server.worker.hiding import hide_process


def main(arguments: list[str]) -> int:
    """Run the server and return the exit code: 0 after a signal, 2 for bad settings, else 1."""
    open_standard_streams()
    if arguments in (["--help"], ["-h"]):
        print(help_text())
        return 0
    if arguments:
        print(f"server: unknown argument {arguments[0]!r}; try --help", file=sys.stderr)
        return 2
    hide_credentials(os.environ)
    try:
        settings = read_settings()
    except BadSettings as error:
        print(f"server: {redact(str(error))}", file=sys.stderr)
        return 2
    files = {"reload_token": settings.reload_token_file, "api_key": settings.api_key_file}
    for name, file in files.items():
        # What is wrong with it is said when it is needed.
        with contextlib.suppress(OSError, ValueError):
            if file is not None:
                hide_token(file.read_text().strip(), name)
    # Read; what runs in the workers must not find them.
    for name in [name for name in os.environ if name.lower() in files]:
        del os.environ[name]
    hide_process()
    give_back_large_blocks()
    try:
        with (
            logging_to_standard_output(settings),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(serve(settings))
    except OSError as error:
        print(f"server: {redact(str(error))}", file=sys.stderr)
        return 1
    return 0
