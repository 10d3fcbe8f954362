"""Promoting a version as a person does: in MLflow's UI, in a browser, and then waiting."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry
from tests.support.server import REPOSITORY, Server
from tests.support.waiting import wait_until

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, window

SCREENSHOTS = REPOSITORY / "screenshots"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian's package: chromium)"
)


@pytest.fixture
def page() -> Iterator[Page]:
    """A window of a browser that was never used before."""
    with window() as page:
        yield page


@pytest.fixture
def photograph(page: Page, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Saves what the page shows under a name, which begins with the test's."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def save(name: str) -> Path:
        path = SCREENSHOTS / f"{request.node.name}-{name}.png"
        page.screenshot(path=path, animations="disabled")
        return path

    return save


@pytest.fixture
def registered(http_registry: HttpRegistry, saved: SavedModels, model_name: str) -> str:
    """A registered model whose version 1 is in production, by stage and by alias."""
    http_registry.create(model_name)
    for word in ("one", "two"):
        http_registry.add(model_name, saved.saying(word))
    http_registry.promote(model_name, "1")
    http_registry.point(model_name, "production", "1")
    return model_name


def start(start_server: StartServer, registry: HttpRegistry, uri: str) -> Server:
    """A server that answers as version 1."""
    server = start_server(uri, MLFLOW_TRACKING_URI=registry.uri)
    server.wait_healthy()
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}
    return server


def see_version_2_serve(server: Server) -> None:
    """Wait, and find version 2 in the answers and its coming in the log."""
    wait_until(lambda: server.predict(TEXT_REQUEST).version == "2", "version 2 answers")
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["two"]}
    (moved,) = server.find("version_moved")
    assert (moved["old_version"], moved["new_version"]) == ("v1", "v2")
    swapped = server.wait_swapped("2")
    assert (swapped["old_version"], swapped["trigger"]) == ("v1", "watcher")


def test_stage_dropdown(
    page: Page,
    photograph: Callable[[str], Path],
    http_registry: HttpRegistry,
    registered: str,
    start_server: StartServer,
) -> None:
    server = start(start_server, http_registry, f"models:/{registered}/Production")

    page.goto(f"{http_registry.uri}/#/models/{registered}")
    page.get_by_role("link", name="Version 2").click()
    page.get_by_role("switch", name="New model registry UI").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    stage = page.get_by_role("main").get_by_role("status")
    expect(stage).to_have_text("None")
    photograph("1-before")
    stage.click()
    page.get_by_role("menuitem").filter(has_text="Production").click()
    dialog = page.get_by_role("dialog", name="Stage transition")
    dialog.get_by_role("checkbox", name=re.compile("Transition existing")).check()
    photograph("2-dialog")
    dialog.get_by_role("button", name="OK").click()
    expect(stage).to_have_text("Production")
    photograph("3-after")

    see_version_2_serve(server)


def test_alias_in_the_new_ui(
    page: Page,
    photograph: Callable[[str], Path],
    http_registry: HttpRegistry,
    registered: str,
    start_server: StartServer,
) -> None:
    server = start(start_server, http_registry, f"models:/{registered}@production")

    page.goto(f"{http_registry.uri}/#/models/{registered}")
    version_2 = page.get_by_role("row").filter(has=page.get_by_role("link", name="Version 2"))
    add_alias = version_2.get_by_role("button", name="Add").last
    expect(add_alias).to_be_visible()
    photograph("1-before")
    add_alias.click()
    dialog = page.get_by_role("dialog", name="Add/Edit alias")
    dialog.get_by_role("combobox").fill("production")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("will remove it from version 1")
    photograph("2-dialog")
    dialog.get_by_role("button", name="Save aliases").click()
    expect(dialog).to_be_hidden()

    see_version_2_serve(server)
    # The table goes on showing the alias where it was.
    page.reload()
    expect(version_2.get_by_role("status", name="production")).to_be_visible()
    photograph("3-after")
