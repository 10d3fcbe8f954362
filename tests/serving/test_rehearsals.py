"""What recorded requests may do to a promotion, whoever sent them."""

import json
import time
from pathlib import Path

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log
from tests.support.models import SavedModels

# Real versions, one for each case: half a minute.
pytestmark = pytest.mark.faults

# What each text begins with is what the version does over it.
_OBEY = """
    import os, time

    (text,) = model_input["text"]
    if text.startswith({odd!r}):
        raise ValueError("never saw the like")
    if text.startswith({deadly!r}):
        os._exit(3)
    if text.startswith({endless!r}):
        while True:
            time.sleep(1)
    if text.startswith({slow!r}):
        time.sleep({seconds})
    return ["{word} " + text]
"""
NOTHING = "no text"


def version(
    saved: SavedModels,
    word: str,
    *,
    odd: str = NOTHING,
    deadly: str = NOTHING,
    endless: str = NOTHING,
    slow: str = NOTHING,
    seconds: float = 0.0,
) -> Path:
    """A model that raises, ends its process, hangs or takes so many seconds over texts that begin
    with these words, and answers others with its own word before them."""
    kinds = {"odd": odd, "deadly": deadly, "endless": endless, "slow": slow}
    return saved.save(_OBEY.format(word=word, seconds=seconds, **kinds))


async def start(
    start_gateway: StartGateway, connect: Connect, model: Path, **settings: object
) -> tuple[Gateway, Client]:
    """A gateway that serves this model, and a client of it."""
    gateway = await start_gateway(model, **settings)
    return gateway, await connect(gateway)


async def post(client: Client, *words: str, count: int = 1) -> None:
    """Post so many different texts that begin with each word."""
    for word in words:
        for number in range(count):
            assert (await client.predict({"instances": [f"{word} {number}"]})).status == 200


@pytest.fixture(scope="module")
def sound(saved: SavedModels) -> Path:
    """A version that answers everything at once."""
    return version(saved, "old")


async def test_one_odd_request_among_twenty_is_no_veto_and_is_told(
    start_gateway: StartGateway, connect: Connect, log: Log, sound: Path, saved: SavedModels
) -> None:
    gateway, client = await start(start_gateway, connect, sound)
    await post(client, "good", count=19)
    await post(client, "odd")
    gateway.promote(gateway.add(version(saved, "new", odd="odd")))

    answer = await client.reload()

    assert answer.status == 200
    assert answer.json["message"].endswith("version changed!; 1 of 20 recent requests failed")
    assert (answer.json["answers_failed"], answer.json["answers_changed"]) == (
        "1 of 20",
        "19 of 20",
    )
    swap = log.find("model_swapped", new_version="v2")[-1]
    # Its own example, too.
    assert (swap["answers_failed"], swap["rehearsed"]) == ("1 of 20", 20)
    assert "rehearsal_left_out" not in swap
    # What it did not answer is not what the next one is compared with.
    again = await client.reload()
    assert (again.json["answers_failed"], again.json["answers_changed"]) == ("0 of 19", "0 of 19")
    assert again.json["message"].endswith("loaded afresh")


@pytest.mark.parametrize(("good", "odd"), [(2, 1), (18, 2), (18, 1)])
async def test_more_than_that_are_a_veto_and_are_told(
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
    sound: Path,
    saved: SavedModels,
    good: int,
    odd: int,
) -> None:
    gateway, client = await start(start_gateway, connect, sound)
    await post(client, "good", count=good)
    await post(client, "odd", count=odd)
    gateway.promote(gateway.add(version(saved, "new", odd="odd")))
    answer = await client.reload()
    assert answer.status == 500
    failed = f"{odd} of {good + odd} recent requests failed"
    assert failed in answer.json["message"]
    (event,) = log.find("reload_failed", failed_version="v2")
    assert failed in event["error"]
    assert (await client.predict({"instances": ["good"]})).version == "1"


async def test_how_many_may_is_set(
    start_gateway: StartGateway, connect: Connect, sound: Path, saved: SavedModels
) -> None:
    strict, client = await start(start_gateway, connect, sound, rehearsal_max_failures=0)
    await post(client, "good", count=31)
    await post(client, "odd")
    odd = version(saved, "new", odd="odd")
    strict.promote(strict.add(odd))
    assert (await client.reload()).status == 500
    lenient, client = await start(start_gateway, connect, sound, rehearsal_max_failures=0.5)
    await post(client, "odd", "good", count=3)
    lenient.promote(lenient.add(odd))
    assert (await client.reload()).json["answers_failed"] == "3 of 6"


async def test_heavy_requests_do_not_stretch_a_reload(
    start_gateway: StartGateway, connect: Connect, log: Log, saved: SavedModels
) -> None:
    heavy = version(saved, "old", slow="heavy", seconds=0.6)
    gateway, client = await start(start_gateway, connect, heavy, rehearsal_seconds=1)
    await post(client, "heavy", "light", count=4)
    gateway.promote(gateway.add(version(saved, "new", slow="heavy", seconds=0.6)))

    answer = await client.reload()

    assert answer.status == 200
    assert answer.json["answers_changed"] == "5 of 5"
    swap = log.find("model_swapped", new_version="v2")[-1]
    assert (swap["rehearsed"], swap["rehearsal_left_out"]) == (6, 3)


async def test_what_is_heavy_for_the_new_version_alone_does_not_stretch_a_reload(
    start_gateway: StartGateway, connect: Connect, log: Log, sound: Path, saved: SavedModels
) -> None:
    gateway, client = await start(start_gateway, connect, sound, rehearsal_seconds=1)
    await post(client, "light", count=4)
    await post(client, "heavy", count=8)
    gateway.promote(gateway.add(version(saved, "new", slow="heavy", seconds=0.6)))
    answer = await client.reload()
    assert answer.json["answers_changed"] == "6 of 6"
    swap = log.find("model_swapped", new_version="v2")[-1]
    assert (swap["rehearsed"], swap["rehearsal_left_out"]) == (7, 6)


@pytest.mark.parametrize("share_model", ["auto", "off"])
async def test_a_request_that_hangs_or_ends_the_new_version_is_a_veto_however_many_may_fail(
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
    sound: Path,
    saved: SavedModels,
    share_model: str,
) -> None:
    gateway, client = await start(
        start_gateway,
        connect,
        sound,
        rehearsal_max_failures=1,
        rehearsal_seconds=0.5,
        request_timeout_seconds=1,
        share_model=share_model,
    )
    await post(client, "good", count=30)
    await post(client, "endless")

    gateway.promote(gateway.add(version(saved, "new", endless="endless")))
    started = time.monotonic()
    hung = await client.reload()
    assert hung.status == 500
    assert "rehearsal failed: requests not answered within 1.5 s" in hung.json["message"]
    # LOAD_TIMEOUT_SECONDS is ten minutes.
    assert time.monotonic() - started < 30

    gateway.promote(gateway.add(version(saved, "new", deadly="endless")))
    died = await client.reload()
    assert died.status == 500
    assert "rehearsal failed: the worker process ended: exit_code 3" in died.json["message"]
    assert [event["phase"] for event in log.find("reload_failed")] == ["rehearsal"] * 2
    answer = await client.predict({"instances": ["good"]})
    assert answer.version == "1"
    assert json.loads(answer.body) == {"predictions": ["old good"]}
