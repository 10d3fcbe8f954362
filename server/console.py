"""The command `mlflow-live-server`: `python -m server`, whatever lies in the working directory."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Become `python -P -m server`. That flag keeps the working directory from being looked through
    for modules, in this process and, as it is handed on, in the environment process."""
    command = [sys.executable, "-P", "-m", "server", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606  # a shell would only be in the way of signals
