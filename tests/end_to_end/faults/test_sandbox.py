"""What a model tries against the server, other versions and the machine, and what it may do."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import psutil
import pytest

from server.worker import landlock
from tests.conftest import StartServer
from tests.end_to_end.faults.hostile import WAYS, call, hostile
from tests.end_to_end.faults.models import text
from tests.support.capabilities import OBSERVERS, without
from tests.support.kernels import without_landlock
from tests.support.live import Live, serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import REPOSITORY, status_of

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(landlock.abi() < 6, reason="this kernel can't hold all of it"),
]

# How Landlock refuses: what is done to files, to processes, and what would move files.
DENIED = {"EACCES", "EPERM", "EXDEV"}


class Victims:
    """What a model is not to touch.

    Args:
        directory: The folder of a release that is not the model's.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "folder").mkdir(parents=True)
        (directory / "file").write_text("good")
        (directory / "code.py").write_text("good")
        name = uuid.uuid4().hex
        places = [REPOSITORY / "server", Path.home(), Path("/tmp"), directory.parent]  # noqa: S108
        self.absent = [str(place / name) for place in places]

    def told(self, *signals: int) -> str:
        """The call that attacks them, and all other processes."""
        told = {
            "signals": [int(number) for number in signals],
            "victim": str(self.directory),
            "absent": self.absent,
            "init": os.getpid() != 1,
        }
        return f"attack({told!r})"

    def are_as_before(self) -> bool:
        found = {
            path.name: path.read_text() if path.is_file() else path.is_dir()
            for path in self.directory.iterdir()
        }
        left = any(Path(path).exists() for path in self.absent)
        return found == {"folder": True, "file": "good", "code.py": "good"} and not left


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Victims:
    """Lies where a gateway of the same user would keep another release."""
    return Victims(tmp_path_factory.mktemp("mlflow-server-") / "1-v1")


Start = Callable[..., Live]


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory,
    registry: Registry,
    saved: SavedModels,
    victims: Victims,
) -> Iterator[Start]:
    """Starts the server of the hostile model with these settings, unless it runs already."""
    with ExitStack() as servers:

        @cache
        def start(**settings: str) -> Live:
            scratch = tmp_path_factory.mktemp("sandbox")
            attack = victims.told(signal.SIGSTOP, signal.SIGKILL)
            settings = {"ATTACK": attack, "WORKERS": "2", "DRAIN_TIMEOUT_SECONDS": "3", **settings}
            name, model = f"hostile-{uuid.uuid4().hex}", hostile(saved)
            live = serving(scratch, registry, saved, name, model, **settings)
            return without(OBSERVERS, lambda: servers.enter_context(live))

        yield start


def family(live: Live) -> dict[int, str]:
    """The server's processes that are to stay, and what each does."""
    names = ("environment", "lookup", "template", "worker")
    pids = [live.server.pid, *(p.pid for name in names for p in live.server.named(name))]
    return {pid: status_of(psutil.Process(pid)) for pid in pids}


@pytest.mark.parametrize("sharing", ["auto", "off"])
@pytest.mark.parametrize("way", WAYS)
def test_a_model_reaches_nobody_else(
    start: Start, victims: Victims, sharing: str, way: str
) -> None:
    live = start(SHARE_MODEL=sharing)
    before = family(live)
    assert len(before) == 5 + (sharing == "auto"), live.server.info()["workers_share_reason"]

    outcomes = call(live.server, way, victims.told(signal.SIGSTOP, signal.SIGKILL))
    if way != "load":
        call(live.server, way, f"signal_by_io({int(signal.SIGKILL)})")

    assert {what: came for what, came in outcomes.items() if came not in DENIED} == {}
    # Each in its several ways: the gateway, the environment, its resource tracker, the look-up
    # process; and once it serves, what it is forked from, and the other worker.
    attacked = {what.rpartition(" ")[2] for what in outcomes if what.startswith("trace ")}
    assert len(attacked) >= (3 if way == "load" else len(before) - 1)
    assert victims.are_as_before()
    after = family(live)
    assert after.keys() == before.keys()
    assert psutil.STATUS_STOPPED not in after.values()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do all of it without a sandbox")
def test_the_same_is_possible_without_a_sandbox(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    harmless = Victims(tmp_path_factory.mktemp("mlflow-server-") / "1-v1")
    live = start(SHARE_MODEL="auto", SANDBOX="off", ATTACK="None")

    outcomes = call(live.server, "program", harmless.told(signal.SIGCONT))

    # Which may have more rights than root has here.
    outcomes.pop("read environ of init")
    assert {what: came for what, came in outcomes.items() if came != "done"} == {}
    assert not harmless.are_as_before()
    assert live.server.info()["sandbox"] == "none: SANDBOX=off"


@pytest.mark.parametrize("sharing", ["auto", "off"])
@pytest.mark.parametrize("way", WAYS[1:])
def test_a_model_may_use_what_is_its_own(start: Start, sharing: str, way: str) -> None:
    assert call(start(SHARE_MODEL=sharing).server, way, "use_what_is_its_own()") is None


WRITES = """
    import os, pathlib
    if os.environ.get("_MLFLOW_IS_IN_SERVING_ENVIRONMENT"):
        pathlib.Path(os.environ["ELSEWHERE"], "file").write_text("written")
"""


def test_a_version_that_writes_elsewhere_is_told_what_lets_it(
    start_server: StartServer, saved: SavedModels, tmp_path: Path
) -> None:
    path = saved.save("return ['written'] * len(model_input)", preamble=WRITES)
    refused = start_server(str(path), ELSEWHERE=str(tmp_path))
    failure = refused.wait_for("reload_failed")
    assert failure["phase"] == "load"
    assert "PermissionError" in failure["exception"]
    assert "SANDBOX_WRITABLE" in failure["error"]
    assert list(tmp_path.iterdir()) == []

    let = start_server(str(path), ELSEWHERE=str(tmp_path), SANDBOX_WRITABLE=str(tmp_path))
    let.wait_healthy()
    assert let.predict(text("hello")).json == {"predictions": ["written"]}
    assert (tmp_path / "file").read_text() == "written"
    says = f"Landlock ABI {landlock.abi()}: files, memory of other processes, signals"
    assert let.info()["sandbox"].startswith(says)
    assert let.find("model_swapped")[-1]["sandbox"] == let.info()["sandbox"]


def test_a_model_logs_to_a_tracking_store_on_this_machine(
    start_server: StartServer, saved: SavedModels
) -> None:
    predict = """
        import mlflow
        with mlflow.start_run() as run:
            mlflow.log_metric("rows", len(model_input))
        return [run.info.run_id] * len(model_input)
    """
    server = start_server(str(saved.save(predict, input_example=None)))
    server.wait_healthy()
    answer = server.predict(text("hello"))
    assert answer.status == 200, answer.body
    # The registry of these tests is a database in a folder of its own.
    assert len(answer.json["predictions"][0]) == 32


def test_what_does_not_ask_for_a_temporary_folder_gets_one(
    start_server: StartServer, saved: SavedModels
) -> None:
    predict = """
        import os, shlex
        options = shlex.split(os.environ["JAVA_TOOL_OPTIONS"])
        temporary = os.environ["TMPDIR"]
        same = f"-Djava.io.tmpdir={temporary}" == options[0] and options[1:] == ["-Xmx1g"]
        return [str(same and os.environ["NUMBA_CACHE_DIR"] == temporary)] * len(model_input)
    """
    server = start_server(str(saved.save(predict)), JAVA_TOOL_OPTIONS="-Xmx1g")
    server.wait_healthy()
    assert server.predict(text("hello")).json == {"predictions": ["True"]}


def test_a_kernel_without_it_is_told_of(saved: SavedModels, start_server: StartServer) -> None:
    path = str(saved.saying("one"))
    server = without_landlock(lambda: start_server(path))
    server.wait_healthy()
    assert server.predict(text("hello")).json == {"predictions": ["one"]}
    assert server.info()["sandbox"] == "none: this kernel has no Landlock"

    def start_strictly() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "server"],
            cwd=REPOSITORY,
            env={**os.environ, "MODEL_URI": path, "SANDBOX": "required"},
            capture_output=True,
            text=True,
            check=False,
        )

    ended = without_landlock(start_strictly)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("server: SANDBOX='required': this kernel has no Landlock. It takes: ")


def test_a_kernel_that_has_all_of_it_satisfies_whoever_insists(
    saved: SavedModels, start_server: StartServer
) -> None:
    server = start_server(str(saved.saying("one")), SANDBOX="required")
    server.wait_healthy()
    assert server.info()["sandbox"].startswith("Landlock")
