"""The stack that the tests in this folder share."""

from collections.abc import Iterator

import pytest

from tests.containers.stack import RUNNING, Stack, engine_problem, timed


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The whole stack, built, started with the demo's models, and healthy."""
    if "containers" not in pytestconfig.getoption("markexpr"):
        pytest.skip("takes minutes and a Docker engine: make test-containers")
    if (problem := engine_problem()) is not None:
        pytest.skip(problem)
    # Characters that have a meaning in an address.
    stack = Stack({"POSTGRES_PASSWORD": "p@ss/w:rd%41#?", "POLL_INTERVAL_SECONDS": "1"})
    stack.compose("down", "--volumes", "--remove-orphans")
    try:
        with timed("build"):
            stack.compose("build", seconds=900)
        with timed("up, until every service is healthy"):
            stack.compose("up", "-d")
            stack.wait_healthy(*RUNNING, seconds=300)
        yield stack
    finally:
        # The images stay, so that the next run builds what has changed.
        stack.compose("down", "--volumes", "--remove-orphans")
