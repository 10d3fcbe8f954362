"""The fork server can be forked safely, and so workers may use what they like."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from server.processes.forkserver import ForkServer
from tests.support.live import Live
from tests.support.load import load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import REPOSITORY, Server

# Each is done only for one request: a version is tried with many before it serves.
USES = {
    "BLAS": """
        import numpy
        matrix = numpy.random.default_rng(1).random((400, 400))
        return [str((matrix @ matrix).shape)] * len(model_input)
    """,
    "OpenMP": """
        import numpy
        from sklearn.ensemble import HistGradientBoostingClassifier
        rows = numpy.arange(4000.0).reshape(2000, 2)
        model = HistGradientBoostingClassifier(max_iter=3).fit(rows, rows[:, 0] > 2000)
        return [str(model.predict(rows[:1])[0])] * len(model_input)
    """,
    "pyarrow": """
        import pyarrow, pyarrow.compute
        table = pyarrow.table({"a": list(range(100000))})
        total = pyarrow.compute.sum(table.sort_by([("a", "descending")])["a"])
        return [str(total)] * len(model_input)
    """,
    "threads": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool:
            return [str(sum(pool.map(int, range(100))))] * len(model_input)
    """,
    "processes": """
        import multiprocessing, subprocess
        for method in ("spawn", "fork"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                total = sum(pool.map(int, ["1", "2", "3"]))
        echoed = subprocess.run(["echo", str(total)], capture_output=True, text=True).stdout
        return [echoed.strip()] * len(model_input)
    """,
}


@pytest.fixture(scope="module")
def usual(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server with the preloads that it has by default, scikit-learn among them."""
    registry.create("usual")
    server = Server(
        tmp_path_factory.mktemp("usual"),
        MODEL_URI="models:/usual/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        PRELOAD="",
    )
    live = Live(server, registry, "usual", saved)
    live.serve("first")
    yield live
    server.close()


def test_the_fork_server_holds_one_thread(usual: Live) -> None:
    assert usual.server.fork_server().num_threads() == 1


@pytest.mark.parametrize("use", USES)
def test_a_worker_may_use(usual: Live, use: str) -> None:
    only_if_asked = """
        if "use" not in list(model_input["text"]):
            return ["unused"] * len(model_input)
    """
    version = usual.serve(usual.saved.save(only_if_asked + USES[use]))
    for _ in range(3):
        answer = usual.server.predict({"instances": ["use"]})
        assert (answer.status, answer.version) == (200, version), answer.body
    assert usual.server.fork_server().num_threads() == 1
    # Whatever it used, it can be ended.
    (pid,) = usual.server.worker_pids()
    mark = usual.server.mark()
    usual.serve("next")
    usual.server.wait_for("release_retired", since=mark, version=f"v{version}", seconds=10)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.faults
async def test_a_fork_server_that_dies_is_started_again_without_a_failed_request(
    usual: Live,
) -> None:
    await asyncio.to_thread(usual.serve, "before")
    server = usual.server
    old = server.fork_server()
    mark = server.mark()
    async with load(server.url, TEXT_REQUEST, clients=4) as clients:
        await clients.answered(10)
        os.kill(old.pid, signal.SIGKILL)
        await asyncio.to_thread(usual.serve, "after")
        await clients.answered(10)
    assert clients.failures == []
    assert server.fork_server().pid != old.pid
    assert server.fork_server().num_threads() == 1
    assert server.find("model_swapped", mark)


def test_the_gateway_never_imports_what_models_need(usual: Live) -> None:
    libraries = Path(f"/proc/{usual.server.pid}/maps").read_text()
    for name in ("pandas", "numpy", "pyarrow", "sklearn", "mlflow"):
        assert f"/{name}/" not in libraries
    assert Path(f"/proc/{usual.server.fork_server().pid}/maps").read_text().count("/pandas/")


def test_the_gateways_modules_import_none_of_what_models_need() -> None:
    heavy = "{'mlflow', 'pandas', 'numpy', 'pyarrow', 'sklearn', 'sqlalchemy', 'requests'}"
    code = f"import server.command, sys; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_what_runs_in_the_worker_imports_nothing_of_the_gateway() -> None:
    code = (
        "import server.worker.main, sys; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('server', 'aiohttp', 'uvloop')"
        " and not m.startswith('server.worker') and m != 'server'))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_starting_a_process_leaves_the_exit_code_of_another_to_its_owner() -> None:
    with Path(os.devnull).open("w") as output:
        fork_server = ForkServer(output.fileno(), ())
        killed = fork_server.start_process(time.sleep, (60,), "killed")
        killed.kill()
        assert wait([killed.sentinel], timeout=30)

        other = fork_server.start_process(time.sleep, (0,), "other")

        assert forkserver.read_signed(killed.sentinel) == -signal.SIGKILL
        other.join()
        killed.close()
        other.close()
        fork_server.stop()
