"""What may be posted to /reload without a token, again and again."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import requests

from tests.support.addresses import address_of_this_machine
from tests.support.live import Live, serving
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

SECONDS = 30.0
FAILS_ON_ITS_EXAMPLE = """
    if "some text" in list(model_input["text"]):
        raise ValueError("its own example")
    return ["bad"] * len(model_input)
"""


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server that other machines reach."""
    directory = tmp_path_factory.mktemp("reloads")
    everywhere = "0.0.0.0"  # noqa: S104
    with serving(directory, registry, saved, "reloads", HOST=everywhere) as live:
        yield live


def post(url: str, name: str = "") -> int:
    """POST, under this request id if there is one, and return the status."""
    headers = {"X-Request-ID": name} if name else {}
    return requests.post(url, headers=headers, timeout=SECONDS).status_code


def repeat(call: Callable[[], int], until: threading.Event) -> list[int]:
    """Call one time after the other, and return the statuses."""
    statuses = []
    while not until.is_set():
        statuses.append(call())
    return statuses


def test_a_loop_of_forced_reloads_from_elsewhere_lets_no_version_through(live: Live) -> None:
    server, url = live.server, f"http://{address_of_this_machine()}:{live.server.port}"
    good = live.serve("good")
    bad = live.add(live.saved.save(FAILS_ON_ITS_EXAMPLE))
    mark, enough = server.mark(), threading.Event()
    with ThreadPoolExecutor(4) as pool:
        try:
            forced = [pool.submit(repeat, lambda: post(f"{url}/reload?force=1"), enough)]
            forced += [pool.submit(repeat, lambda: post(f"{url}/reload/?force=true"), enough)]
            live.promote(bad)
            # A pipeline elsewhere, and the watcher, share their swaps with nobody who forces.
            assert [post(f"{url}/reload") for _ in range(3)] == [500] * 3
            server.wait_for(
                "reload_failed", since=mark, trigger="watcher", failed_version=f"v{bad}"
            )
        finally:
            enough.set()
    statuses = [status for call in forced for status in call.result()]
    assert len(statuses) > 20
    assert set(statuses) == {403}
    assert server.find("model_swapped", mark) == []
    assert server.predict(TEXT_REQUEST).version == good


def test_of_those_who_reload_at_once_only_who_forces_is_spared_the_rehearsal(live: Live) -> None:
    server = live.server
    live.serve("sound")
    assert server.predict(TEXT_REQUEST).status == 200
    mark, enough, numbers = server.mark(), threading.Event(), count()

    def ask(kind: str, query: str) -> Callable[[], int]:
        return lambda: post(f"{server.url}/reload{query}", f"{kind}-{next(numbers)}")

    def swaps(kind: str) -> list[bool]:
        """Whether each swap that one of this kind asked for was spared the rehearsal."""
        found = server.find("model_swapped", mark, trigger="manual")
        return ["rehearsal_skipped" in s for s in found if s["request_id"].startswith(kind)]

    with ThreadPoolExecutor(8) as pool:
        try:
            forced = [pool.submit(repeat, ask("forced", "?force=true"), enough) for _ in range(4)]
            plain = [pool.submit(repeat, ask("plain", ""), enough) for _ in range(4)]
            wait_until(lambda: len(swaps("forced")) > 4 and len(swaps("plain")) > 4, "several")
        finally:
            enough.set()
    answers = [status for call in forced + plain for status in call.result()]
    assert set(answers) == {200}
    assert set(swaps("forced")) == {True}
    assert set(swaps("plain")) == {False}
    # They share them, each with their own kind.
    assert len(swaps("")) < len(answers) / 2
