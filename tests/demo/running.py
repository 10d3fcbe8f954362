"""Running the demo as people run it, and reading what it prints."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.support.client import get_json, post_json
from tests.support.ports import free_ports
from tests.support.server import REPOSITORY, ended
from tests.support.waiting import wait_until

# The last that it prints before it only waits.
RUNS = "Ctrl-C ends everything."


class Demo:
    """`python -m demo` on free ports, in a checkout of its own: it keeps its data there.

    Args:
        checkout: An empty directory.
    """

    def __init__(self, checkout: Path) -> None:
        for name in ("demo", "server", "watcher"):
            (checkout / name).symlink_to(REPOSITORY / name)
        self._checkout = checkout
        self._output = checkout / "output"
        mlflow, topics, sentiments = free_ports(3)
        self._environment = {
            "DEMO_MLFLOW_PORT": str(mlflow),
            "DEMO_TOPIC_PORT": str(topics),
            "DEMO_SENTIMENT_PORT": str(sentiments),
        }
        self.mlflow_url = f"http://127.0.0.1:{mlflow}"
        # By the ports that README names.
        self.server_urls = {
            5001: f"http://127.0.0.1:{topics}",
            5002: f"http://127.0.0.1:{sentiments}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """All that it has printed since it was started."""
        return self._output.read_text()

    def start(self) -> None:
        """Start it and wait until everything runs."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo"],
                cwd=self._checkout,
                env={**os.environ, **self._environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_for(RUNS, 120)

    def wait_for(self, text: str, seconds: float = 30.0) -> None:
        """Wait until it has printed a text."""
        process = self._process
        assert process is not None
        wait_until(lambda: text in self.output or process.poll() is not None, text, seconds)
        assert text in self.output, self.output

    def commands(self) -> list[str]:
        """The commands that it tells people to try."""
        lines = (line.strip() for line in self.output.splitlines())
        return [line for line in lines if line.startswith("curl ")]

    def processes(self) -> list[psutil.Process]:
        """Its process and all below it."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code: a terminal signals the whole foreground group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(60)

    def close(self) -> None:
        """Make sure that it has ended, with all that it started."""
        if self._process is None or self._process.poll() is not None:
            return
        family = self.processes()
        self.interrupt()
        wait_until(lambda: ended(family), "all have ended", 10)


def run_curl(command: str) -> Any:
    """Do what a printed curl command does, and return the JSON that it would print."""
    words = shlex.split(command)
    (url,) = (word for word in words if word.startswith("http://"))
    if "-d" in words:
        return post_json(url, json.loads(words[words.index("-d") + 1]))[0]
    return post_json(url)[0] if "POST" in words else get_json(url)
