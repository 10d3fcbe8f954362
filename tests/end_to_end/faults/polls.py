"""Waiting for the watcher."""

from tests.support.server import Server
from tests.support.waiting import wait_until


def wait_for_polls(server: Server, count: int) -> None:
    """Wait until the registry has been polled so many times more."""
    for _ in range(count):
        _wait_for_poll(server, _last(server))


def _last(server: Server) -> object:
    return server.info()["watcher"]["last_poll"]


def _wait_for_poll(server: Server, last: object) -> None:
    wait_until(lambda: _last(server) != last, "another poll")
