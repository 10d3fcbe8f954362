"""The imports point one way, as the picture in CONTRIBUTING has it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each room, and what it must not know.
FORBIDDEN = {
    "watcher": ("server", "aiohttp"),
    "server.worker": ("server.http", "server.serving", "server.processes", "watcher", "aiohttp"),
    "server.processes": ("server.http", "server.serving", "aiohttp"),
    "server.serving": ("server.http", "aiohttp"),
}


def modules() -> dict[str, Path]:
    """The modules of the product, by name."""
    paths = [path for room in ("server", "watcher") for path in (ROOT / room).rglob("*.py")]
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in paths}
    return {
        ".".join(names[:-1] if names[-1] == "__init__" else names): path
        for path, names in parts.items()
    }


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """What a module imports, wherever in it: modules, as far as they are the product's."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                module = f"{base}.{alias.name}"
                yield module if module in MODULES else base


def within(module: str, room: str) -> bool:
    """Whether a module stands in a room."""
    return module == room or module.startswith(f"{room}.")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_knows_nothing_of_those_above_it(room: str) -> None:
    inside = [name for name in MODULES if within(name, room)]
    wrong = [
        f"{name} imports {module}"
        for name in inside
        for module in imported(name)
        if any(within(module, other) for other in FORBIDDEN[room])
    ]
    assert inside
    assert wrong == []


def test_the_worker_knows_nothing_of_the_gateway() -> None:
    outside = {
        module
        for name in MODULES
        if within(name, "server.worker")
        for module in imported(name)
        if within(module, "server") and not within(module, "server.worker")
    }
    assert outside == set()


def test_no_imports_go_in_a_circle() -> None:
    graph = {name: {m for m in imported(name) if m in MODULES} - {name} for name in MODULES}
    assert len([*TopologicalSorter(graph).static_order()]) == len(MODULES)
