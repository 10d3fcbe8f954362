"""Posting several requests in such a way that it is known where they are."""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.faults.models import text
from tests.support.answers import Answer
from tests.support.server import Server
from tests.support.waiting import wait_until


def waiting(server: Server) -> int:
    """How many requests no worker has taken yet."""
    found = re.search(rb"^model_server_queue (\d+)", server.get("/metrics").body, re.MULTILINE)
    assert found is not None
    return int(found[1])


def post_at_once(server: Server, texts: Iterable[str]) -> dict[str, Answer]:
    """Post each text in a request of its own, all at the same time."""
    texts = list(texts)
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = pool.map(lambda one: server.predict(text(one)), texts)
        return dict(zip(texts, answers, strict=True))


@contextmanager
def batch(server: Server, gate: Path, texts: Iterable[str]) -> Iterator[dict[str, Future[Answer]]]:
    """Have texts wait, in this order, while the model is busy with another request; when the block
    is entered, the model goes on, and takes them all as one batch.

    Args:
        server: Serves the obedient model.
        gate: A file that does not exist yet.
        texts: One request each.
    """
    texts = list(texts)
    with ThreadPoolExecutor(len(texts) + 2) as pool:
        try:
            pool.submit(server.predict, text(str(gate)))
            wait_until(server.is_busy, "the model waits")
            # The worker gets one more batch ahead of time; this is all of it.
            pool.submit(server.predict, text("ahead"))
            wait_until(lambda: server.connections() == 2, "it has come")
            posted: dict[str, Future[Answer]] = {}
            for count, one in enumerate(texts, 1):
                posted[one] = pool.submit(server.predict, text(one))
                _wait_for_queue(server, count)
        finally:
            gate.touch()
        yield posted


def _wait_for_queue(server: Server, count: int) -> None:
    wait_until(lambda: waiting(server) == count, f"{count} requests wait")
