"""The whole stack in containers: `make test-containers`."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from demo.models import SENTIMENTS, TOPICS
from tests.containers.stack import (
    CLASSIFICATION,
    MODEL_SERVERS,
    RUNNING,
    SENTIMENT,
    Stack,
    docker,
    inspect,
    succeeds,
    timed,
)
from tests.support.client import get_json, post_json
from tests.support.load import load
from tests.support.pages import examples
from tests.support.registry import Registry
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

TOPIC_REQUEST = {"dataframe_split": {"columns": ["text"], "data": [[TOPICS.example]]}}
SENTIMENT_REQUEST = {"dataframe_split": {"columns": ["text"], "data": [[SENTIMENTS.example]]}}


@pytest.fixture
def registry(stack: Stack) -> Registry:
    """The stack's Model Registry."""
    return Registry(stack.url("mlflow"))


def predict(stack: Stack, service: str = CLASSIFICATION) -> tuple[list[str], str | None]:
    """Predict the demo's example; return the labels and the version that answered."""
    request = TOPIC_REQUEST if service == CLASSIFICATION else SENTIMENT_REQUEST
    answer, headers = post_json(f"{stack.url(service)}/invocations", request)
    return answer["predictions"], headers["X-Model-Version"]


def mark(stack: Stack, service: str = CLASSIFICATION) -> int:
    """A place in the log: what is printed from here on."""
    return len(stack.log(service))


def test_demo_is_trained_and_served(stack: Stack) -> None:
    training = inspect(stack.container("demo-training"))["State"]
    assert (training["Status"], training["ExitCode"]) == ("exited", 0)
    assert predict(stack, CLASSIFICATION) == (["technology"], "1")
    assert predict(stack, SENTIMENT) == (["positive"], "1")


@pytest.mark.parametrize(("service", "port"), [(CLASSIFICATION, 5001), (SENTIMENT, 5002)])
def test_readmes_requests_are_answered_as_it_says(stack: Stack, service: str, port: int) -> None:
    example = examples()[port]
    answer, _ = post_json(f"{stack.url(service)}/invocations", example.body)
    assert answer == example.answer


@pytest.mark.parametrize("service", MODEL_SERVERS)
def test_log_is_json_from_the_first_line(stack: Stack, service: str) -> None:
    lines = [json.loads(line) for line in stack.log(service)]
    assert lines[0]["event"] == "server_started"
    assert all({"timestamp", "level", "event", "model_name"} <= set(line) for line in lines)
    # Slow starts must not raise the alarm that is meant for a registry that is away.
    assert stack.events(service, "registry_unreachable") == []


async def test_promotion_loses_no_request(stack: Stack, registry: Registry) -> None:
    before = mark(stack)
    async with load(stack.url(CLASSIFICATION), TOPIC_REQUEST, clients=16) as clients:
        await clients.answered(100)
        await asyncio.to_thread(registry.promote, TOPICS.name, "2")
        moved = await asyncio.to_thread(stack.wait_for, CLASSIFICATION, "version_moved", before)
        swapped = await asyncio.to_thread(stack.wait_for, CLASSIFICATION, "model_swapped", before)
        swapped_at = time.monotonic()
        await clients.answered(100)
    assert (moved["old_version"], moved["new_version"]) == ("v1", "v2")
    assert (swapped["new_version"], swapped["trigger"]) == ("v2", "watcher")
    assert clients.failures == []
    assert clients.versions_sent_after(swapped_at) == {"2"}


def test_killed_worker_is_replaced(stack: Stack) -> None:
    before = mark(stack)
    (worker,) = get_json(f"{stack.url(CLASSIFICATION)}/info")["workers"]
    stack.execute(CLASSIFICATION, "sh", "-c", f"kill -9 {worker['pid']}")
    exited = stack.wait_for(CLASSIFICATION, "worker_exited", before)
    assert (exited["pid"], exited["signal"]) == (worker["pid"], "SIGKILL")
    stack.wait_for(CLASSIFICATION, "worker_replaced", before)
    assert predict(stack)[0] == ["technology"]


def test_orphans_are_reaped(stack: Stack) -> None:
    stack.execute(CLASSIFICATION, "sh", "-c", "sleep 0.2 &")
    wait_until(lambda: "sleep" not in processes(stack), "the orphan is gone", 10)


def processes(stack: Stack) -> str:
    """The name and state of every process in the container, zombies among them."""
    status = "for f in /proc/[0-9]*/stat; do read -r line < $f && echo $line; done 2>/dev/null"
    return stack.execute(CLASSIFICATION, "sh", "-c", status)


@pytest.fixture
def database_away(stack: Stack) -> Iterator[None]:
    """PostgreSQL is stopped until the test ends."""
    stack.compose("stop", "postgres")
    yield
    stack.compose("start", "postgres")
    stack.wait_healthy("postgres")
    # As soon as the database answers, without a restart.
    wait_until(lambda: stack.passes_health_check("mlflow"), "mlflow is healthy", 30)


@pytest.mark.usefixtures("database_away")
def test_mlflow_without_its_database_is_not_healthy(stack: Stack) -> None:
    assert not stack.passes_health_check("mlflow")


def test_mlflow_that_refuses_its_clients_is_not_healthy(stack: Stack) -> None:
    image = inspect(stack.container("mlflow"))["Image"]
    refusing = docker(
        *("run", "--detach", "--rm", "--hostname=mlflow", image),
        *("server", "--host=0.0.0.0", "--workers=1", "--allowed-hosts=localhost:*"),
        "--backend-store-uri=sqlite:////tmp/mlflow.db",
    ).strip()
    ask = "import urllib.request as r; r.urlopen('http://mlflow:5000/health', timeout=5)"
    try:
        wait_until(lambda: succeeds(refusing, "python", "-c", ask), "its /health says OK", 180)
        assert not succeeds(refusing, *stack.health_check("mlflow"))
    finally:
        docker("rm", "--force", refusing)


def test_registry_away_for_a_while(stack: Stack, registry: Registry) -> None:
    before = mark(stack)
    _, serving = predict(stack)
    stack.compose("stop", "mlflow", "postgres")
    stack.wait_for(CLASSIFICATION, "registry_unreachable", before)
    assert predict(stack) == (["technology"], serving)
    stack.compose("start", "postgres", "mlflow")
    stack.wait_healthy("postgres", "mlflow")
    stack.wait_for(CLASSIFICATION, "registry_recovered", before)

    other = "1" if serving == "2" else "2"
    registry.promote(TOPICS.name, other)
    stack.wait_for(CLASSIFICATION, "model_swapped", before, new_version=f"v{other}")
    assert predict(stack) == (["technology"], other)


def test_everything_is_still_there_after_a_restart(stack: Stack, registry: Registry) -> None:
    registry.promote(TOPICS.name, "2")
    wait_until(lambda: predict(stack)[1] == "2", "version 2 serves", 60)
    stack.compose("down")
    with timed("up again, until every service is healthy"):
        stack.compose("up", "-d")
        stack.wait_healthy(*RUNNING)
    versions = registry.client.search_model_versions(f"name = '{TOPICS.name}'")
    assert {int(v.version): v.current_stage for v in versions} == {1: "Archived", 2: "Production"}
    assert predict(stack, CLASSIFICATION) == (["technology"], "2")
    assert predict(stack, SENTIMENT) == (["positive"], "1")


@pytest.mark.parametrize("service", ["mlflow", *MODEL_SERVERS])
def test_runs_contained(stack: Stack, service: str) -> None:
    owners = stack.execute(service, "sh", "-c", "grep -h ^Uid: /proc/[0-9]*/status 2>/dev/null")
    assert {word for line in owners.splitlines() for word in line.split()[1:]} == {"10001"}
    assert "Read-only file system" in docker(
        "exec", "--user=0", stack.container(service), "touch", "/app/x", check=False
    )
    host = inspect(stack.container(service))["HostConfig"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["CapDrop"] == ["ALL"]


@pytest.mark.parametrize("service", MODEL_SERVERS)
def test_stop_drains_and_exits_with_0(stack: Stack, service: str) -> None:
    container = stack.container(service)
    settings = inspect(container)["Config"]
    assert settings["StopTimeout"] > 30
    assert "DRAIN_TIMEOUT_SECONDS=30" in settings["Env"]
    started = time.monotonic()
    docker("stop", container)
    seconds = time.monotonic() - started
    print(f"docker stop {service}: {seconds:.1f} s")
    assert inspect(container)["State"]["ExitCode"] == 0
    assert seconds < 15
    lines = [json.loads(line) for line in stack.log(service)]
    assert (lines[0]["event"], lines[-1]["event"]) == ("server_started", "server_stopped")
    docker("start", container)
    stack.wait_healthy(service)


def test_both_servers_run_the_same_image(stack: Stack) -> None:
    assert len({inspect(stack.container(service))["Image"] for service in MODEL_SERVERS}) == 1


def test_image_holds_what_it_needs_and_no_more(stack: Stack) -> None:
    image = inspect(inspect(stack.container(CLASSIFICATION))["Image"])
    settings = image["Config"]
    assert settings["User"] == "10001:10001"
    assert settings["StopSignal"] == "SIGTERM"
    assert settings["Labels"]["org.opencontainers.image.title"] == "mlflow-live-server"
    unwanted = (
        "for tool in cc gcc g++ make git curl pytest mypy; do command -v $tool; done; "
        "ls -d /root/.cache /tmp/* /var/lib/apt/lists/* tests demo 2>/dev/null; true"
    )
    assert docker("run", "--rm", "--entrypoint=sh", image["Id"], "-c", unwanted) == ""
    print(f"server image: {image['Size'] / 1e6:.0f} MB")
    sizes = docker("history", "--format={{.Size}}\t{{.CreatedBy}}", image["Id"])
    print("\n".join(line[:120] for line in sizes.splitlines() if not line.startswith("0B")))
    packages = "/usr/local/lib/python3*/site-packages"
    print(stack.execute(CLASSIFICATION, "sh", "-c", f"du -sm {packages}/* | sort -rn | head"))
