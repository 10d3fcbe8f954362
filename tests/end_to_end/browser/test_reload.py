"""Pages in a browser that post to /reload, where no token guards it."""

from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.models import SavedModels
from tests.support.server import Server

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import Page

from tests.support.browser import CHROMIUM, window

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian's package: chromium)"
)

_POST = "url => fetch(url, {method: 'POST', mode: 'no-cors'}).then(answer => answer.status)"
_SUBMIT = """url => {
    const form = document.createElement("form");
    form.method = "post";
    form.action = url;
    document.body.append(form);
    form.submit();
}"""


@pytest.fixture
def server(start_server: StartServer, saved: SavedModels) -> Server:
    """A server that has one friend."""
    server = start_server(str(saved.saying("one")), ALLOWED_HOSTS="friend.test:*", ACCESS_LOG="1")
    server.wait_healthy()
    return server


@pytest.fixture
def page() -> Iterator[Page]:
    """A window of a browser to which every name of the tests is this machine."""
    with window(flags=("--host-resolver-rules=MAP *.test 127.0.0.1",)) as page:
        yield page


def statuses(server: Server, count: int) -> list[int]:
    """What became of so many posts to /reload."""
    server.wait_for("request", method="POST", path="/reload", count=count)
    return [event["status"] for event in server.find("request", method="POST", path="/reload")]


def test_only_pages_of_the_server_s_own_or_of_its_friends_reload(
    page: Page, server: Server
) -> None:
    # It serves a moment before that is written.
    server.wait_for("model_swapped")
    own, swaps = server.url, len(server.find("model_swapped"))
    # Of another origin, which can't read what comes back.
    page.goto(f"http://localhost:{server.port}/health")
    assert page.evaluate(_POST, f"{own}/reload") == 0
    with page.expect_navigation():
        page.evaluate(_SUBMIT, f"{own}/reload")
    # Of a name that has come to mean this server since its page was loaded.
    page.goto(f"http://evil.test:{server.port}/health")
    assert page.evaluate(_POST, "/reload") == 403
    assert statuses(server, 3) == [403] * 3
    assert len(server.find("model_swapped")) == swaps

    page.goto(f"{own}/health")
    assert page.evaluate(_POST, "/reload") == 200
    page.goto(f"http://friend.test:{server.port}/health")
    assert page.evaluate(_POST, "/reload") == 200
    assert statuses(server, 5)[3:] == [200] * 2
    assert len(server.find("model_swapped")) == swaps + 2
