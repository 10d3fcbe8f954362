"""Whatever stands between the server and the registry, predictions go on, and it recovers."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.faults.certificates import make_certificates
from tests.end_to_end.faults.models import text
from tests.end_to_end.faults.polls import wait_for_polls
from tests.end_to_end.faults.proxy import (
    Cut,
    Delay,
    Drop,
    Fault,
    Garble,
    Proxy,
    Refuse,
    Silence,
    Trickle,
    http,
)
from tests.support.answers import Answer
from tests.support.load import load
from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry
from tests.support.server import Server, only_root
from tests.support.tracking import TrackingServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

PASSWORD = "pass-4711-word"  # noqa: S105
TOKEN = "token-4712"  # noqa: S105

# What a caller of /reload may wait while the registry is away.
MOST_SECONDS = 15.0

FAULTS: dict[str, Fault] = {
    "refuses": Refuse(),
    "drops": Drop(),
    "cuts": Cut(after=60),
    "garbles": Garble(),
    "answers HTML": http("200 OK", b"<html>Please log in</html>", "Content-Type: text/html"),
    "answers nothing": http("200 OK"),
    "answers for another service": http("200 OK", b'{"status": "ok"}'),
    "answers half of its JSON": http("200 OK", b'{"model_versions": [{"name":'),
    "answers 500": http("500 Internal Server Error", b"no database"),
    "answers 429": http("429 Too Many Requests", b"", "Retry-After: 3600"),
    "redirects in a loop": http("302 Found", b"", "Location: /"),
    "is silent": Silence(),
    "trickles": Trickle(0.5),
}


@pytest.fixture(scope="module")
def name(http_registry: HttpRegistry, saved: SavedModels) -> str:
    """A registered model with versions 1 and 2."""
    http_registry.create("behind-a-proxy")
    for word in ("one", "two"):
        http_registry.add("behind-a-proxy", saved.saying(word))
    http_registry.promote("behind-a-proxy", "1")
    return "behind-a-proxy"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy, name: str) -> Iterator[Server]:
    """A server that reaches the registry through the proxy only, by a URI with a password."""
    server = Server(
        tmp_path_factory.mktemp("behind-a-proxy"),
        MODEL_URI=f"models:/{name}/Production",
        MLFLOW_TRACKING_URI=proxy.url.replace("//", f"//someone:{PASSWORD}@"),
        RELOAD_TOKEN=TOKEN,
    )
    server.wait_healthy()
    yield server
    server.close()


def reload(server: Server) -> Answer:
    """POST to /reload with the token."""
    return server.request("POST", "/reload", headers={"Authorization": f"Bearer {TOKEN}"})


def test_a_slow_registry_is_waited_for(server: Server, healed: Proxy) -> None:
    healed.suffer(Delay(0.2))
    mark = server.mark()
    assert reload(server).status == 200
    assert server.find("registry_unreachable", mark) == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_predictions_go_on_and_it_recovers_by_itself(
    server: Server, name: str, http_registry: HttpRegistry, healed: Proxy, fault: Fault
) -> None:
    (serving,) = await asyncio.to_thread(server.worker_pids)
    version = (await asyncio.to_thread(server.info))["metadata"]["version"]
    mark = server.mark()

    async with load(server.url, text("hello"), clients=4) as clients:
        await asyncio.to_thread(healed.suffer, fault)
        await asyncio.to_thread(server.wait_for, "registry_unreachable", since=mark)
        started = time.monotonic()
        answers = await asyncio.gather(*(asyncio.to_thread(reload, server) for _ in range(3)))
        took = time.monotonic() - started
        await clients.answered(20)
        await asyncio.to_thread(healed.heal)
        await asyncio.to_thread(server.wait_for, "registry_recovered", since=mark)

    assert clients.failures == []
    assert clients.versions == {version}
    assert max(s.done - s.sent for s in clients.samples) < 1.0
    assert took < MOST_SECONDS
    for answer in answers:
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json["old_version"] == f"v{version}"
    assert server.worker_pids() == [serving]
    assert len(server.find("registry_unreachable", mark)) == 1
    assert len(server.find("registry_recovered", mark)) == 1

    # It follows the registry again.
    other = "2" if version == "1" else "1"
    http_registry.promote(name, other)
    server.wait_swapped(other, since=mark, trigger="watcher")


async def test_an_expired_certificate_is_an_outage_that_ends_with_a_valid_one(
    tracking_server: TrackingServer, http_registry: HttpRegistry, saved: SavedModels, tmp_path: Path
) -> None:
    http_registry.create("behind-tls")
    http_registry.promote("behind-tls", http_registry.add("behind-tls", saved.saying("one")))
    certificates = make_certificates(tmp_path)
    proxy = Proxy(tracking_server.port, certificates.valid)
    server = Server(
        tmp_path,
        MODEL_URI="models:/behind-tls/Production",
        MLFLOW_TRACKING_URI=proxy.url,
        MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificates.authority),
    )
    try:
        await asyncio.to_thread(server.wait_healthy)
        async with load(server.url, text("hello"), clients=4) as clients:
            await asyncio.to_thread(proxy.show, certificates.expired)
            outage = await asyncio.to_thread(server.wait_for, "registry_unreachable")
            answer = await asyncio.to_thread(server.reload)
            await clients.answered(20)
            await asyncio.to_thread(proxy.show, certificates.valid)
            await asyncio.to_thread(server.wait_for, "registry_recovered")
        assert "certificate has expired" in outage["error"]
        assert answer.status == 503
        # Who shows no token is told of what kind it is.
        assert "can't be reached" in answer.json["message"]
        assert "certificate" not in answer.json["message"]
        assert clients.failures == []
        http_registry.promote("behind-tls", http_registry.add("behind-tls", saved.saying("two")))
        server.wait_swapped("2", trigger="watcher")
    finally:
        server.close()
        proxy.close()


def test_a_host_that_does_not_resolve_is_an_outage(tmp_path: Path) -> None:
    server = Server(
        tmp_path,
        MODEL_URI="models:/demo/Production",
        MLFLOW_TRACKING_URI="http://registry.invalid:5000",
    )
    try:
        server.wait_for("registry_unreachable")
        started = time.monotonic()
        answer = server.reload()
        assert time.monotonic() - started < MOST_SECONDS
        assert (answer.status, answer.json["status"]) == (503, "error")
        assert server.get("/health").json["status"] == "unhealthy"
        assert server.get("/livez").status == 200
        wait_for_polls(server, 2)
        assert len(server.find("registry_unreachable")) == 1
    finally:
        server.close()


@only_root
def test_an_outage_costs_no_thread_process_or_descriptor(server: Server, healed: Proxy) -> None:
    gateway = psutil.Process(server.pid)

    def holds() -> tuple[int, int, int]:
        return gateway.num_threads(), len(server.processes()), gateway.num_fds()

    def outage(fault: Fault) -> None:
        mark = server.mark()
        healed.suffer(fault)
        wait_for_polls(server, 2)
        healed.heal()
        server.wait_for("registry_recovered", since=mark)

    outage(Drop())
    # The gateway, the environment and its resource tracker, the look-up, a worker and its template.
    there = 5 + server.info()["workers_share"]
    wait_until(lambda: len(server.processes()) == there, "what retired has ended")
    threads, processes, descriptors = holds()

    for fault in (Drop(), Garble(), Refuse()):
        outage(fault)

    wait_until(lambda: holds()[1:] <= (processes, descriptors), "nothing more is held", 10)
    assert holds()[0] <= threads


def test_neither_the_password_nor_the_token_is_ever_shown(server: Server) -> None:
    # All that the tests before have caused is in this log.
    assert server.find("registry_unreachable") != []
    shown = "".join(server.lines) + server.get("/info").body.decode()
    assert PASSWORD not in shown
    assert TOKEN not in shown
    assert server.get("/info", {"Authorization": f"Bearer {TOKEN}"}).status == 200
