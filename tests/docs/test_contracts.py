"""What docs/ promises is what the code has: settings, routes, events, commands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import mlflow.environment_variables as mlflow_variables
import pytest

from server.http.openapi import describe
from server.http.runner import Runner
from server.settings import Settings
from tests.conftest import StartGateway
from tests.docs.settings_table import PAGE, with_table
from tests.support.events import FIELDS, is_complete
from tests.support.pages import (
    CONTRIBUTING,
    HTTP_API,
    LOG,
    OPERATIONS,
    PAGES,
    code,
    json_lines,
    python_blocks,
    rows,
)
from tests.support.server import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text()
SOURCES = [path for room in ("server", "watcher") for path in (REPOSITORY / room).rglob("*.py")]


def test_the_table_of_settings_is_what_make_docs_makes() -> None:
    assert PAGE.read_text() == with_table(PAGE.read_text()), "run make docs"


def test_the_table_of_settings_has_them_all() -> None:
    documented = [name.strip("`").lower() for name, *_ in rows(PAGE, "variable")]
    assert set(Settings.model_fields) <= set(documented)


def variables_read() -> set[str]:
    """What the server, the demo, the containers and the shown application read."""
    files = [
        *SOURCES,
        *(REPOSITORY / "demo").glob("*.py"),
        *(REPOSITORY / "tests/end_to_end/chaos").glob("*.py"),
    ]
    files += [REPOSITORY / name for name in ("docker-compose.yml", ".env.example", "Makefile")]
    texts = [*(path.read_text() for path in files), *python_blocks(HTTP_API)]
    return {
        *(name.upper() for name in Settings.model_fields),
        *dir(mlflow_variables),
        *(word for text in texts for word in re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", text)),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", page.read_text())
    assert set(named) - variables_read() == set()


async def test_every_route_is_documented_and_no_other(start_gateway: StartGateway) -> None:
    documented = {route for routes, _ in rows(HTTP_API, "route") for route in code(routes)}
    gateway = await start_gateway()
    app = Runner(gateway.settings, gateway.deployment, gateway.watcher).app
    taken = {
        f"{route.method} {route.resource.canonical.rstrip('/') or '/'}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    assert documented == taken


def test_the_description_of_the_api_has_the_same_routes() -> None:
    documented = {route for routes, _ in rows(HTTP_API, "route") for route in code(routes)}
    described = {
        f"{method.upper()} {path}"
        for speaks in ("chat", "agent", "responses", None)
        for path, methods in describe("", None, None, speaks=speaks)["paths"].items()
        for method in methods
    }
    assert documented == described


def test_every_metric_is_documented_and_no_other() -> None:
    documented = {name.strip("`") for name, _ in rows(HTTP_API, "metric")}
    text = (REPOSITORY / "server/http/metrics.py").read_text()
    endings = ("", "_total", "_info")
    made = re.findall(r'"(model_server_\w+)"', text)
    assert {name.removesuffix("_total").removesuffix("_info") for name in documented} == set(made)
    assert documented <= {name + ending for name in made for ending in endings}


def test_every_service_is_documented_and_no_other() -> None:
    documented = {name.strip("`") for name, *_ in rows(OPERATIONS, "service")}
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    services = compose.partition("\nservices:")[2].partition("\nvolumes:")[0]
    assert documented == set(re.findall(r"^  ([\w-]+):$", services, re.MULTILINE))


_LEVELS = ("debug", "info", "warning", "error", "exception")


def logged() -> Iterator[tuple[str, str, set[str]]]:
    """The events that the code logs, each with its level and those fields that stand with it."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(ast.Attribute(attr=level), [ast.Constant(str(event)), *_]) if (
                    level in _LEVELS and re.fullmatch(r"[a-z]+(_[a-z]+)*", event)
                ):
                    fields = {word.arg for word in node.keywords if word.arg}
                    if level == "exception" or "exc_info" in fields:
                        level, fields = "error", fields - {"exc_info"} | {"exception"}
                    yield event, level, fields - {"extra"}


def test_every_event_is_documented_with_its_level_and_fields_and_no_other() -> None:
    documented = {
        event.strip("`"): (level, fields) for event, level, _, fields in rows(LOG, "event")
    }
    assert {event for event, *_ in logged()} == set(documented)
    for event, level, fields in logged():
        written, named = documented[event]
        # A worker's output has the level that the model gave it.
        assert written in (level, "as logged"), event
        assert fields <= set(code(named)), event


def test_the_events_to_alert_on_are_those_that_the_tests_hold() -> None:
    text = LOG.read_text()
    stable = text.partition("## What to alert on")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", stable, re.MULTILINE) == list(FIELDS)


def test_the_log_has_a_whole_line_of_each_event_to_alert_on() -> None:
    lines = json_lines(LOG)
    assert [line["event"] for line in lines if not is_complete(line)] == []
    assert sorted(line["event"] for line in lines) == sorted(FIELDS)


def test_every_make_target_is_documented_and_no_other() -> None:
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert phony == targets
    documented = {
        target.removeprefix("make ")
        for name, _ in rows(CONTRIBUTING, "target")
        for target in code(name)
    }
    # `make` alone is `make help`.
    assert documented - {"make"} == targets - {"help"}
    for page in [*PAGES, REPOSITORY / "CHANGELOG.md"]:
        named = re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page.name
