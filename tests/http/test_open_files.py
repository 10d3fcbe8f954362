"""As many connections as the machine allows, and never so many that no worker can be started."""

import resource
from collections.abc import Iterator

import psutil
import pytest

from server.http import descriptors
from tests.conftest import StartServer
from tests.support.models import SavedModels


@pytest.fixture
def few_files() -> Iterator[int]:
    """This process, and what it starts, may open few files, but more if they ask; the maximum."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_server_may_open_as_many_files_as_it_takes_connections(
    few_files: int, start_server: StartServer, saved: SavedModels
) -> None:
    server = start_server(str(saved.saying("one")), MAX_CONNECTIONS="500")
    soft, hard = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert (soft, hard) == (756, few_files)
    assert server.find("connections_limited") == []


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "connections", "files"),
    [
        (1024, 524_288, 10_000, 10_000, 10_256),
        (1024, 4096, 10_000, 3840, 4096),
        (65_536, 65_536, 10_000, 10_000, 65_536),
        (100, 100, 10_000, 50, 100),
        (1024, resource.RLIM_INFINITY, 10_000, 10_000, 10_256),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10, 10, resource.RLIM_INFINITY),
    ],
)
def test_connections_leave_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    wanted: int,
    connections: int,
    files: int,
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert descriptors.open_to(wanted) == connections
    assert limits[-1] == (files, hard)
