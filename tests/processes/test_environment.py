"""The environment process can be forked safely, and so workers may use what they like."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from server.processes.environment import Environment
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.live import Live
from tests.support.load import load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.server import REPOSITORY, ended, only_root

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
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that serves some version: the environment process has imported what it is to."""
    return await start_gateway("first")


def threads(environment: Environment) -> int:
    """How many threads the process holds."""
    return psutil.Process(environment.pid).num_threads()


def test_the_environment_process_holds_one_thread(
    gateway: Gateway, environment: Environment
) -> None:
    assert threads(environment) == 1


@pytest.mark.parametrize("use", USES)
async def test_a_worker_may_use(
    client: Client, gateway: Gateway, environment: Environment, log: Log, use: str
) -> None:
    only_if_asked = """
        if "use" not in list(model_input["text"]):
            return ["unused"] * len(model_input)
    """
    version = await gateway.serve(gateway.saved.save(only_if_asked + USES[use]))
    for _ in range(3):
        answer = await client.predict({"instances": ["use"]})
        assert (answer.status, answer.version) == (200, version), answer.body
    assert threads(environment) == 1
    # Whatever it used, it can be ended.
    workers = [psutil.Process(pid) for pid in await client.worker_pids()]
    await gateway.serve("next")
    await log.wait_for("release_retired", version=f"v{version}", seconds=10)
    assert ended(workers)


@pytest.mark.faults
async def test_an_environment_process_that_dies_is_started_again_without_a_failed_request(
    live: Live,
) -> None:
    await asyncio.to_thread(live.serve, "before")
    server = live.server
    old = server.environment()
    mark = server.mark()
    async with load(server.url, TEXT_REQUEST, clients=4) as clients:
        await clients.answered(10)
        os.kill(old.pid, signal.SIGKILL)
        await asyncio.to_thread(live.serve, "after")
        await clients.answered(10)
    assert clients.failures == []
    assert server.environment().pid != old.pid
    assert server.environment().num_threads() == 1
    assert server.find("model_swapped", mark)


@only_root
def test_the_gateway_never_imports_what_models_need(live: Live) -> None:
    libraries = Path(f"/proc/{live.server.pid}/maps").read_text()
    for name in ("pandas", "numpy", "pyarrow", "sklearn", "mlflow"):
        assert f"/{name}/" not in libraries
    environment = live.server.environment()
    assert environment.num_threads() == 1
    assert Path(f"/proc/{environment.pid}/maps").read_text().count("/pandas/")


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
