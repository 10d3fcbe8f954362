"""Which version serves after a swap, whatever the registry and the model do meanwhile."""

import asyncio
from pathlib import Path

import psutil
import pytest

from server.errors import ReloadFailed
from server.serving.swaps import Swap, Trigger
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway whose watcher polls when it is told to."""
    return await start_gateway("first")


async def test_a_model_that_was_deleted_and_made_anew_is_another_version_1(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
) -> None:
    def make(word: str) -> str:
        registry.create(model_name)
        run_id = registry.new_run()
        assert registry.add(model_name, saved.saying(word), run_id) == "1"
        registry.promote(model_name, "1")
        return run_id

    first_run = make("one")
    gateway = await start_gateway(model_uri=f"models:/{model_name}/Production")
    await gateway.watcher.poll()
    client = await connect(gateway)
    assert (await client.info())["metadata"]["run_id"] == first_run

    registry.delete(model_name)
    await gateway.watcher.poll()
    assert log.find("version_missing")
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["one"]}

    second_run = make("two")
    await gateway.watcher.poll()
    swap = log.find("model_swapped", new_version="v1")[-1]
    assert (swap["old_version"], swap["version_changed"]) == ("v1", True)
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["two"]}
    assert (await client.info())["metadata"]["run_id"] == second_run


async def test_each_version_runs_its_own_code(
    client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    def twin(word: str) -> str:
        directory = tmp_path / word
        directory.mkdir()
        module = directory / "twin_words.py"
        module.write_text(f"WORD = {word!r}\n")
        path = gateway.saved.save(
            "return [self.word] * len(model_input)",
            load="from twin_words import WORD; self.word = WORD",
            code_paths=[str(module)],
        )
        return gateway.add(path)

    old, new = twin("old code"), twin("new code")
    for version, word in ((old, "old code"), (new, "new code"), (old, "old code")):
        await gateway.swap_to(version)
        answer = await client.predict(TEXT_REQUEST)
        assert (answer.version, answer.json) == (version, {"predictions": [word]})


def slow_to_load(gateway: Gateway, gate: Path, word: str) -> str:
    """A version that says by a file that it is loading, and ends loading when `gate` exists."""
    load_body = f"""
        import pathlib, time
        pathlib.Path({str(gate)!r} + ".reached").touch()
        while not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.01)
    """
    return gateway.add(gateway.saved.save(f"return [{word!r}] * len(model_input)", load=load_body))


async def loads(gate: Path) -> bool:
    """Whether the version that waits for `gate` is being loaded."""
    return gate.with_name(f"{gate.name}.reached").exists()


async def test_when_the_registry_moves_during_a_load_the_newest_version_serves(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    overtaken, newest = slow_to_load(gateway, gate, "overtaken"), gateway.add("newest")

    gateway.promote(overtaken)
    call = asyncio.create_task(client.reload())
    await eventually(lambda: loads(gate), "the version to overtake is being loaded")
    gateway.promote(newest)
    gate.touch()
    answer = await call

    assert (answer.status, answer.json["new_version"]) == (200, f"v{newest}")
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["newest"]}
    assert log.find("model_swapped", new_version=f"v{overtaken}") == []

    async def one_is_left() -> bool:
        return len(gateway.release_directories()) == 1

    await eventually(one_is_left, "what was overtaken is gone")


async def test_many_callers_of_reload_share_two_loads(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    slow, newest = slow_to_load(gateway, gate, "slow"), gateway.add("newest")
    await gateway.serve("before")

    gateway.promote(slow)
    poll = asyncio.create_task(gateway.watcher.poll())
    await eventually(lambda: loads(gate), "the first load is under way")
    gateway.promote(newest)
    before = log.find("model_swapped", trigger="manual")
    callers = [asyncio.create_task(client.reload()) for _ in range(20)]

    async def all_have_called() -> bool:
        return connections(client) >= len(callers)

    await eventually(all_have_called, "every caller has called")
    gate.touch()
    answers = await asyncio.gather(*callers)
    await poll

    # Each asked after `newest` was promoted, so each is told of a look-up that found it.
    assert [(a.status, a.json["new_version"]) for a in answers] == [(200, f"v{newest}")] * 20
    assert len(log.find("model_swapped", trigger="manual")) - len(before) == 1
    assert (await client.predict(TEXT_REQUEST)).version == newest


async def test_nobody_is_spared_the_rehearsal_by_someone_else_s_force(
    gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    slow = slow_to_load(gateway, gate, "held up")
    dies = "if model_input.text[0] == 'some text': raise ValueError('no')\nreturn ['bad']"
    bad = gateway.add(gateway.saved.save(dies))
    await gateway.serve("sound")
    gateway.promote(slow)
    poll = asyncio.create_task(gateway.watcher.poll())
    await eventually(lambda: loads(gate), "the first load is under way")
    gateway.promote(bad)

    async def ask(force: bool) -> Swap | str:
        try:
            return await gateway.deployment.reload(Trigger.MANUAL, force=force)
        except ReloadFailed as error:
            return error.phase

    # Whoever shares a swap asks while the first is under way.
    calls = [asyncio.create_task(ask(force)) for force in [False, True] * 10]
    await asyncio.sleep(0)
    gate.touch()
    answers = await asyncio.gather(*calls)
    await poll

    assert answers[::2] == ["rehearsal"] * 10
    assert [swap.new.display for swap in answers[1::2] if isinstance(swap, Swap)] == [
        f"v{bad}"
    ] * 10
    # The watcher's, and one of each kind.
    assert len(log.find("reload_failed", failed_version=f"v{bad}")) == 2
    (swap,) = log.find("model_swapped", new_version=f"v{bad}")
    assert swap["rehearsal_skipped"] is True


def connections(client: Client) -> int:
    """How many clients are connected."""
    sockets = psutil.Process().net_connections("tcp")
    return sum(s.status == psutil.CONN_ESTABLISHED and s.laddr.port == client.port for s in sockets)


async def test_reloading_the_version_that_serves_loads_it_afresh(
    client: Client, gateway: Gateway, log: Log
) -> None:
    version = await gateway.serve("afresh")
    old_worker = (await client.worker_pids())[0]

    answer = await client.reload()

    assert answer.status == 200
    assert answer.json["version_changed"] is False
    assert "unchanged" in answer.json["message"]
    swap = log.find("model_swapped", new_version=f"v{version}")[-1]
    assert (swap["trigger"], swap["version_changed"]) == ("manual", False)
    assert swap["request_id"] == answer.headers["x-request-id"]
    assert await client.worker_pids() != [old_worker]


async def test_what_waits_for_a_version_without_workers_is_answered_by_the_next(
    start_gateway: StartGateway, connect: Connect, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway(share_model="off")
    client = await connect(gateway)
    loaded = tmp_path / "loaded"
    load_once = f"""
        import pathlib
        loaded = pathlib.Path({str(loaded)!r})
        if loaded.exists():
            raise RuntimeError("once is enough")
        loaded.touch()
    """
    dies = "import os\nif model_input.text[0] == 'die': os._exit(1)\nreturn ['dying'] * "
    model = gateway.saved.save(f"{dies}len(model_input)", load=load_once)
    dying = await gateway.serve(model)
    call = asyncio.create_task(client.predict({"instances": ["die"]}))
    await log.wait_for("worker_not_replaced", version=f"v{dying}")
    waits = asyncio.create_task(client.predict(TEXT_REQUEST))
    assert (await client.get("/health")).status == 503
    mended = await gateway.serve("mended")
    assert (await waits).version == mended
    # Nothing knows that it was this one; the next version answers it well.
    assert (await call).version == mended


async def test_a_version_that_was_forced_is_what_the_next_is_compared_with(
    start_gateway: StartGateway, connect: Connect, log: Log
) -> None:
    gateway = await start_gateway("words")
    client = await connect(gateway)
    assert (await client.predict(TEXT_REQUEST)).status == 200
    silent = gateway.add(gateway.saved.save("return [None] * len(model_input)"))
    gateway.promote(silent)
    await gateway.watcher.poll()
    assert log.find("reload_failed", failed_version=f"v{silent}")

    forced = await client.request("POST", "/reload?force=true")

    assert (forced.status, forced.json["new_version"]) == (200, f"v{silent}")
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": [None]}
    again = await client.reload()
    assert (again.status, again.json["answers_changed"]) == (200, "0 of 1")
