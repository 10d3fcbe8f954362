"""MAX_BATCH_ROWS bounds what the model gets at a time."""

import asyncio

from tests.conftest import Connect, StartGateway
from tests.support.models import SavedModels

MOST = 4

# Answers each row with the number of rows that came with it, and takes long enough for requests
# to wait meanwhile.
COUNT = "import time; time.sleep(0.05); return [len(model_input)] * len(model_input)"


async def test_no_more_rows_are_merged(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    gateway = await start_gateway(saved.save(COUNT), max_batch_rows=MOST, batching="on")
    client = await connect(gateway)

    async def rows_seen(rows: int) -> int:
        answer = await client.predict({"instances": ["text"] * rows})
        assert answer.status == 200
        (seen,) = set(answer.json["predictions"])
        return int(seen)

    assert max(await asyncio.gather(*(rows_seen(1) for _ in range(24)))) == MOST
    # A request of more rows is never cut.
    assert await rows_seen(MOST + 3) == MOST + 3
