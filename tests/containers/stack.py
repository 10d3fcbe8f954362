"""The stack of docker-compose.yml, as a project of the tests' own."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.support.ports import free_ports
from tests.support.server import REPOSITORY
from tests.support.waiting import wait_until

PROJECT = "mlflow-live-server-test"
CLASSIFICATION = "model-serving-classification"
SENTIMENT = "model-serving-sentiment"
MODEL_SERVERS = (CLASSIFICATION, SENTIMENT)
RUNNING = ("postgres", "mlflow", *MODEL_SERVERS)

_PUBLISH = {
    "mlflow": "MLFLOW_PUBLISH",
    CLASSIFICATION: "CLASSIFICATION_PUBLISH",
    SENTIMENT: "SENTIMENT_PUBLISH",
}


def docker(*arguments: str, check: bool = True, seconds: float = 120.0) -> str:
    """Run a docker command and return what it prints, standard error included."""
    return _run(["docker", *arguments], check, seconds)


def succeeds(container: str, *command: str) -> bool:
    """Whether a command in a container exits with 0."""
    done = subprocess.run(
        ["docker", "exec", container, *command], capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


def inspect(thing: str) -> Any:
    """What docker knows of a container or an image."""
    return json.loads(docker("inspect", thing))[0]


def engine_problem() -> str | None:
    """Why no container can be started here, or None."""
    if shutil.which("docker") is None:
        return "the docker command is not installed"
    if _compose_command() is None:
        return "neither Compose v2 nor docker-compose is installed"
    try:
        docker("info", seconds=30)
    except (AssertionError, subprocess.TimeoutExpired):
        return "no Docker engine answers"
    return None


class Stack:
    """The services of docker-compose.yml on free ports.

    Args:
        environment: What a person would write into `.env`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._ports = dict(zip(_PUBLISH, free_ports(len(_PUBLISH)), strict=True))
        published = {_PUBLISH[name]: f"127.0.0.1:{port}" for name, port in self._ports.items()}
        self._environment = {**os.environ, **environment, **published}

    def compose(self, *arguments: str, seconds: float = 300.0) -> str:
        """Run Compose on the project, the demo's service included."""
        command = _compose_command()
        assert command is not None
        project = ["--project-name", PROJECT, "--profile", "demo"]
        return _run([*command, *project, *arguments], True, seconds, self._environment)

    def url(self, service: str) -> str:
        """Where a service can be reached from outside."""
        return f"http://127.0.0.1:{self._ports[service]}"

    def container(self, service: str) -> str:
        """The id of a service's container, which may have ended."""
        filters = (
            f"label=com.docker.compose.project={PROJECT}",
            f"label=com.docker.compose.service={service}",
        )
        ids = docker("ps", "--all", "--quiet", *(f"--filter={f}" for f in filters)).split()
        assert len(ids) == 1, f"{service} has {len(ids)} containers"
        return ids[0]

    def execute(self, service: str, *command: str) -> str:
        """Run a command in a service's container and return what it prints."""
        return docker("exec", self.container(service), *command)

    def health_check(self, service: str) -> list[str]:
        """The command that tells in a service's container whether it is healthy."""
        test: list[str] = inspect(self.container(service))["Config"]["Healthcheck"]["Test"]
        assert test[0] == "CMD"
        return test[1:]

    def passes_health_check(self, service: str) -> bool:
        """Whether a service is healthy at this moment, whatever docker calls it still."""
        return succeeds(self.container(service), *self.health_check(service))

    def wait_healthy(self, *services: str, seconds: float = 180.0) -> None:
        """Wait until docker calls every service healthy."""

        def states() -> dict[str, str]:
            return {s: inspect(self.container(s))["State"]["Health"]["Status"] for s in services}

        try:
            wait_until(lambda: set(states().values()) == {"healthy"}, "healthy", seconds)
        except AssertionError:
            unhealthy = [s for s, state in states().items() if state != "healthy"]
            logs = "\n".join("\n".join(self.log(service)[-5:]) for service in unhealthy)
            raise AssertionError(f"not healthy within {seconds:g} s: {unhealthy}\n{logs}") from None

    def log(self, service: str, since: int = 0) -> list[str]:
        """The lines that a service has printed after the first `since`."""
        return docker("logs", self.container(service)).splitlines()[since:]

    def events(self, service: str, event: str, since: int = 0, **fields: Any) -> list[Any]:
        """The events of this name with these fields in a model server's log."""
        lines = [json.loads(line) for line in self.log(service, since)]
        return [
            line
            for line in lines
            if line["event"] == event and all(line.get(k) == v for k, v in fields.items())
        ]

    def wait_for(
        self, service: str, event: str, since: int = 0, seconds: float = 90.0, **fields: Any
    ) -> Any:
        """Wait for an event in a model server's log and return it."""
        return wait_until(
            lambda: self.events(service, event, since, **fields),
            f"{service}: {event} {fields}",
            seconds,
        )[-1]


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took."""
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.1f} s")


def _compose_command() -> list[str] | None:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def _run(
    command: list[str], check: bool, seconds: float, environment: Mapping[str, str] | None = None
) -> str:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout
