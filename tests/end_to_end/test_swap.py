"""Swapping versions under load, by each trigger, forth and back."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.answers import Answer
from tests.support.live import Live
from tests.support.load import load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry, Registry
from tests.support.server import Server
from tests.support.waiting import wait_until


async def swap_forth_and_back(server: Server, registry: Registry, name: str, trigger: str) -> None:
    """Move a server from version 1 to 2 and back under load; nobody may notice."""

    async def move_to(version: str) -> float:
        mark = server.mark()
        registry.point(name, "production", version)
        registry.promote(name, version)
        if trigger == "manual":
            answer = await asyncio.to_thread(server.reload)
            expected = {
                "status": "success",
                "message": f"Model '{name}' reloaded successfully - version changed!",
                "model_uri": f"models:/{name}@production",
                "old_version": "v1" if version == "2" else "v2",
                "new_version": f"v{version}",
                "version_changed": True,
            }
            assert answer.status == 200
            assert {key: answer.json[key] for key in expected} == expected
        swap = await asyncio.to_thread(server.wait_swapped, version, since=mark, trigger=trigger)
        assert swap["version_changed"] is True
        await clients.answered(200)
        return swap.read_at

    server.wait_healthy()
    first_worker = server.worker_pids()[0]
    async with load(server.url, TEXT_REQUEST) as clients:
        await clients.answered(200)
        forth = await move_to("2")
        await asyncio.to_thread(
            wait_until, lambda: not psutil.pid_exists(first_worker), "version 1's worker is gone"
        )
        await asyncio.to_thread(
            wait_until, lambda: len(server.release_directories()) == 1, "its directory is gone"
        )
        samples_of_two = len(clients.samples)
        assert {s.version for s in clients.samples if s.sent > forth} == {"2"}
        back = await move_to("1")

    assert clients.failures == []
    assert clients.versions == {"1", "2"}
    assert {s.version for s in clients.samples[:samples_of_two] if s.sent > forth} == {"2"}
    assert clients.versions_sent_after(back) == {"1"}
    assert clients.answers_of("1") == {b'{"predictions":["one"]}'}
    assert clients.answers_of("2") == {b'{"predictions":["two"]}'}
    assert len(server.find("version_moved")) == (2 if trigger == "watcher" else 0)


async def test_a_promotion_in_a_tracking_server_is_followed_without_a_failed_request(
    http_registry: HttpRegistry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    http_registry.create(model_name)
    for word in ("one", "two"):
        http_registry.add(model_name, saved.saying(word))
    http_registry.promote(model_name, "1")
    server = start_server(f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=http_registry.uri)
    await swap_forth_and_back(server, http_registry, model_name, "watcher")


@pytest.mark.parametrize("trigger", ["watcher", "manual"])
async def test_a_moved_alias_is_followed_without_a_failed_request(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    trigger: str,
) -> None:
    registry.create(model_name)
    for word in ("one", "two"):
        registry.add(model_name, saved.saying(word))
    registry.point(model_name, "production", "1")
    server = start_server(
        f"models:/{model_name}@production",
        POLL_INTERVAL_SECONDS="0" if trigger == "manual" else "0.2",
    )
    await swap_forth_and_back(server, registry, model_name, trigger)
    assert server.info()["alias"] == "production"


def test_a_model_that_was_deleted_and_made_anew_is_another_version_1(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    def make(word: str) -> str:
        registry.create(model_name)
        run_id = registry.new_run()
        assert registry.add(model_name, saved.saying(word), run_id) == "1"
        registry.promote(model_name, "1")
        return run_id

    first_run = make("one")
    server = start_server(f"models:/{model_name}/Production")
    server.wait_healthy()
    assert server.info()["metadata"]["run_id"] == first_run
    mark = server.mark()

    registry.delete(model_name)
    server.wait_for("version_missing", since=mark)
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}

    second_run = make("two")
    swap = server.wait_swapped("1", since=mark)
    assert (swap["old_version"], swap["version_changed"]) == ("v1", True)
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["two"]}
    assert server.info()["metadata"]["run_id"] == second_run


def test_each_version_runs_its_own_code(live: Live, tmp_path: Path) -> None:
    def twin(word: str) -> str:
        directory = tmp_path / word
        directory.mkdir()
        module = directory / "twin_words.py"
        module.write_text(f"WORD = {word!r}\n")
        path = live.saved.save(
            "return [self.word] * len(model_input)",
            load="from twin_words import WORD; self.word = WORD",
            code_paths=[str(module)],
        )
        return live.add(path)

    old, new = twin("old code"), twin("new code")
    for version, word in ((old, "old code"), (new, "new code"), (old, "old code")):
        live.swap_to(version)
        answer = live.server.predict(TEXT_REQUEST)
        assert (answer.version, answer.json) == (version, {"predictions": [word]})


def slow_to_load(live: Live, gate: Path, word: str) -> str:
    """A version that says by a file that it is loading, and ends loading when `gate` exists."""
    load_body = f"""
        import pathlib, time
        pathlib.Path({str(gate)!r} + ".reached").touch()
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.01)
    """
    return live.add(live.saved.save(f"return [{word!r}] * len(model_input)", load=load_body))


def loads(gate: Path) -> bool:
    """Whether the version that waits for `gate` is being loaded."""
    return gate.with_name(f"{gate.name}.reached").exists()


def test_when_the_registry_moves_during_a_load_the_newest_version_serves(
    registry: Registry,
    saved: SavedModels,
    model_name: str,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    registry.create(model_name)
    # Version 2 must be served before the next poll could find it.
    server = start_server(f"models:/{model_name}/Production", POLL_INTERVAL_SECONDS="0")
    live = Live(server, registry, model_name, saved)
    live.promote(live.add("first"))
    server.wait_healthy()
    gate = tmp_path / "gate"
    overtaken, newest = slow_to_load(live, gate, "overtaken"), live.add("newest")

    live.promote(overtaken)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.reload)
        wait_until(lambda: loads(gate), "the version to overtake is being loaded")
        live.promote(newest)
        gate.touch()
        answer = call.result()

    assert (answer.status, answer.json["new_version"]) == (200, f"v{newest}")
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["newest"]}
    assert server.find("model_swapped", new_version=f"v{overtaken}") == []
    wait_until(lambda: len(server.release_directories()) == 1, "what was overtaken is gone")


def test_many_callers_of_reload_share_two_loads(live: Live, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow, newest = slow_to_load(live, gate, "slow"), live.add("newest")
    server = live.server
    live.serve("before")
    mark = server.mark()
    answers: list[Answer] = []

    live.promote(slow)
    wait_until(lambda: loads(gate), "the first load is under way")
    live.promote(newest)
    callers = [threading.Thread(target=lambda: answers.append(server.reload())) for _ in range(20)]
    for caller in callers:
        caller.start()
    wait_until(lambda: connections(server) >= len(callers), "every caller has called")
    gate.touch()
    for caller in callers:
        caller.join()

    # Each asked after `newest` was promoted, so each is told of a look-up that found it.
    assert [(a.status, a.json["new_version"]) for a in answers] == [(200, f"v{newest}")] * 20
    assert len(server.find("model_swapped", since=mark, trigger="manual")) == 1
    assert server.predict(TEXT_REQUEST).version == newest


def connections(server: Server) -> int:
    """How many clients are connected."""
    sockets = psutil.Process(server.pid).net_connections("tcp")
    return sum(1 for s in sockets if s.status == psutil.CONN_ESTABLISHED)


def test_reloading_the_version_that_serves_loads_it_afresh(live: Live) -> None:
    version = live.serve("afresh")
    server = live.server
    old_worker = server.worker_pids()[0]
    mark = server.mark()

    answer = server.reload()

    assert answer.status == 200
    assert answer.json["version_changed"] is False
    assert "unchanged" in answer.json["message"]
    swap = server.wait_swapped(version, since=mark)
    assert (swap["trigger"], swap["version_changed"]) == ("manual", False)
    assert swap["request_id"] == answer.headers["x-request-id"]
    assert server.worker_pids() != [old_worker]


def test_what_waits_for_a_version_without_workers_is_answered_by_the_next(
    live: Live, tmp_path: Path
) -> None:
    loaded = tmp_path / "loaded"
    load_once = f"""
        import pathlib
        loaded = pathlib.Path({str(loaded)!r})
        if loaded.exists():
            raise RuntimeError("once is enough")
        loaded.touch()
    """
    dies = "import os\nif model_input.text[0] == 'die': os._exit(1)\nreturn ['dying'] * "
    dying = live.serve(live.saved.save(f"{dies}len(model_input)", load=load_once))
    mark = live.server.mark()
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(live.server.predict, {"instances": ["die"]})
        live.server.wait_for("worker_not_replaced", since=mark, version=f"v{dying}")
        waits = pool.submit(live.server.predict, TEXT_REQUEST)
        assert live.server.get("/health").status == 503
        mended = live.serve("mended")
        assert waits.result().version == mended
        # Nothing knows that it was this one; the next version answers it well.
        assert call.result().version == mended


def test_a_version_that_was_forced_is_what_the_next_is_compared_with(live: Live) -> None:
    live.serve("words")
    assert live.server.predict(TEXT_REQUEST).status == 200
    silent = live.add(live.saved.save("return [None] * len(model_input)"))
    mark = live.server.mark()
    live.promote(silent)
    live.server.wait_for("reload_failed", since=mark, failed_version=f"v{silent}")

    forced = live.server.request("POST", "/reload?force=true")

    assert (forced.status, forced.json["new_version"]) == (200, f"v{silent}")
    assert live.server.predict(TEXT_REQUEST).json == {"predictions": [None]}
    again = live.server.reload()
    assert (again.status, again.json["answers_changed"]) == (200, "0 of 1")
