"""A model that waits for something else is told as such, and not asked more than it must be."""

from tests.conftest import Connect, StartGateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels

WAITS = """
    import time
    time.sleep(0.02)
    return ["{word}"] * len(model_input)
"""


async def test_what_was_found_is_told_and_no_real_request_replayed(
    start_gateway: StartGateway, connect: Connect, log: Log, saved: SavedModels
) -> None:
    gateway = await start_gateway(saved.save(WAITS.format(word="old")))
    client = await connect(gateway)
    found = (await client.info())["concurrency"]
    assert found == {
        "slots": 32,
        "waits": True,
        "streams": False,
        "reason": "the model waits for something else most of the time, "
        "and answers requests at once as one by one",
    }
    assert (await client.info())["workers_share"] is True
    assert (await client.predict(TEXT_REQUEST)).status == 200

    await gateway.serve(saved.save(WAITS.format(word="new")))

    swap = log.find("model_swapped", new_version="v2")[-1]
    assert swap["replay_skipped"].startswith("the model waits for something else")
    assert (swap["rehearsed"], swap["answers_failed"]) == (1, None)
    assert "rehearsal_left_out" not in swap


async def test_a_number_of_requests_that_is_set_holds_for_it_as_well(
    start_gateway: StartGateway, connect: Connect, log: Log, saved: SavedModels
) -> None:
    gateway = await start_gateway(
        saved.save(WAITS.format(word="old")), rehearsal_requests=5, concurrency=1
    )
    client = await connect(gateway)
    assert (await client.info())["concurrency"]["reason"] == "CONCURRENCY=1"
    assert (await client.predict(TEXT_REQUEST)).status == 200

    await gateway.serve(saved.save(WAITS.format(word="new")))

    swap = log.find("model_swapped", new_version="v2")[-1]
    assert (swap["rehearsed"], swap["answers_changed"]) == (2, "1 of 1")
    assert "replay_skipped" not in swap
