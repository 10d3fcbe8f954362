"""Started in a folder that has modules called like this program's."""

import configparser
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.support.own_modules import loader, save
from tests.support.server import REPOSITORY, Server

BY_COMMAND = ("-P", "-c", "from server.console import main; main()")
BY_MODULE = ("-m", "server")


def run(
    directory: Path, *command: str, path: tuple[Path, ...] = (REPOSITORY,)
) -> subprocess.CompletedProcess[str]:
    """Ask for help in a directory."""
    return subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(directory: Path, **modules: str) -> None:
    """Write modules; a name without `py` is a package's."""
    for name, text in modules.items():
        path = directory / f"{name.removesuffix('_py')}"
        path = path.with_suffix(".py") if name.endswith("_py") else path / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


INTRUDERS = {
    "a package watcher": ({"watcher": ""}, "watcher"),
    "a module watcher": ({"watcher_py": ""}, "watcher.py"),
    "a package watcher like ours": ({"watcher": "", "watcher/versions_py": ""}, "watcher"),
    "a module in place of a library": ({"aiohttp_py": ""}, "aiohttp.py"),
    "a package in place of a library": ({"structlog": ""}, "structlog/__init__.py"),
    "a module in place of a library of the workers": ({"mlflow_py": ""}, "mlflow.py"),
    "one that raises": ({"orjson_py": "import no_such_module"}, "orjson.py"),
    "one in place of the standard library": ({"sched_py": "", "logging_py": ""}, "logging.py"),
}


@pytest.mark.parametrize(("modules", "named"), INTRUDERS.values(), ids=INTRUDERS)
def test_what_is_in_the_way_is_said_in_one_line(
    tmp_path: Path, modules: dict[str, str], named: str
) -> None:
    write(tmp_path, **modules)
    ended = run(tmp_path, *BY_MODULE)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("server: ")
    assert str(tmp_path / named) in line
    assert "mlflow-live-server" in line


def test_a_package_before_ours_on_the_path_is_said_in_one_line(tmp_path: Path) -> None:
    write(tmp_path, watcher="")
    for command in (BY_COMMAND, ("-P", *BY_MODULE)):
        ended = run(tmp_path.parent, *command, path=(tmp_path, REPOSITORY))
        assert ended.returncode == 2
        assert str(tmp_path / "watcher") in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_a_package_that_only_the_environment_process_would_find_is_said_in_one_line(
    tmp_path: Path,
) -> None:
    write(tmp_path, server="")
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import server.__main__ as m"
    ended = run(tmp_path, "-c", f"{code}; sys.exit(m.main(sys.argv[1:]))", path=())
    assert ended.returncode == 2
    assert str(tmp_path / "server") in ended.stderr


def test_folders_without_modules_are_not_in_the_way(tmp_path: Path) -> None:
    for name in ("server", "watcher", "tests", "demo"):
        (tmp_path / name).mkdir()
    assert run(tmp_path, *BY_MODULE).returncode == 0


@pytest.mark.parametrize("script", ["server", "server/__main__.py"])
def test_a_start_by_its_path_is_refused_in_one_line(tmp_path: Path, script: str) -> None:
    ended = run(tmp_path, str(REPOSITORY / script))
    assert ended.returncode == 2
    assert ended.stderr == "server: start it as `python -m server`, or `mlflow-live-server`\n"


def test_the_command_is_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    name, _, value = setup["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert name == "mlflow-live-server"
    assert callable(EntryPoint(name, value, "console_scripts").load())


def test_the_command_serves_in_a_folder_full_of_them_and_models_find_what_they_need_there(
    tmp_path: Path, scratch: Path
) -> None:
    folder = tmp_path / "folder"
    raising = "raise RuntimeError('imported')"
    write(folder, server=raising, watcher=raising, structlog_py=raising, theirs_py="WORD = 'fine'")
    code = loader("import theirs\nreturn theirs.WORD")
    path = save(tmp_path, {"its_loader.py": code}, loader_module="its_loader")

    class ByCommand(Server):
        command = BY_COMMAND
        directory = folder

    server = ByCommand(scratch, MODEL_URI=str(path), PYTHONPATH=str(REPOSITORY))
    try:
        server.wait_healthy()
        assert server.predict({"inputs": ["text"]}).json == {"predictions": ["fine"]}
        assert not [line for line in server.lines if "imported" in line]
    finally:
        server.close()
