"""MAX_BATCH_ROWS bounds what the model gets at a time."""

from concurrent.futures import ThreadPoolExecutor

from tests.conftest import StartServer
from tests.support.models import SavedModels
from tests.support.registry import Registry

MOST = 4

# Answers each row with the number of rows that came with it, and takes long enough for requests
# to wait meanwhile.
COUNT = "import time; time.sleep(0.05); return [len(model_input)] * len(model_input)"


def test_no_more_rows_are_merged(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.save(COUNT)))
    server = start_server(
        f"models:/{model_name}/Production", MAX_BATCH_ROWS=str(MOST), BATCHING="on"
    )
    server.wait_healthy()

    def rows_seen(rows: int) -> int:
        answer = server.predict({"instances": ["text"] * rows})
        assert answer.status == 200
        (seen,) = set(answer.json["predictions"])
        return int(seen)

    with ThreadPoolExecutor(24) as pool:
        seen = list(pool.map(rows_seen, [1] * 24))
    assert max(seen) == MOST
    # A request of more rows is never cut.
    assert rows_seen(MOST + 3) == MOST + 3
