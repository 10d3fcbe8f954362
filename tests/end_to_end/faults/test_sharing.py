"""Which models are shared among the workers, and that the others are served as well."""

import os
import re
import signal
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow.sklearn
import pandas as pd
import psutil
import pytest

from server.processes.cores import thread_variables
from tests.end_to_end.faults.loads import ALONE, TOGETHER, Model
from tests.end_to_end.faults.models import text
from tests.support.live import Live, serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, status_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

WORKERS = 2


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server of several workers."""
    directory = tmp_path_factory.mktemp("sharing")
    # The versions are asked different things.
    settings = {"WORKERS": str(WORKERS), "REHEARSAL_REQUESTS": "0"}
    with serving(directory, registry, saved, "sharing", **settings) as live:
        yield live


def templates(server: Server) -> list[psutil.Process]:
    """The templates; what a model has forked while loading has their name as well."""
    above = {server.pid, server.environment().pid}
    return [process for process in server.named("template") if process.ppid() in above]


def serve(live: Live, model: Model) -> None:
    """Have it serve, and see that it answers."""
    predict = f"{textwrap.dedent(model.predict)}\nreturn ['done'] * len(model_input)"
    live.serve(live.saved.save(predict, load=model.load))
    assert_serves(live.server)


def assert_serves(server: Server) -> None:
    """It answers, as often as it is asked."""
    for request in ("now", "now", "then", "then"):
        answer = server.predict(text(request))
        assert (answer.status, answer.json) == (200, {"predictions": ["done"]})


def assert_replaces(server: Server) -> None:
    """Kill a worker: another one comes, and answers."""
    wait_until(lambda: len(server.working()) == WORKERS, "all workers are there")
    before, mark = server.working(), server.mark()
    lost = min(before)
    os.kill(lost, signal.SIGKILL)
    wait_until(lambda: len(server.working() - {lost}) == WORKERS, "it is replaced")
    assert server.wait_for("worker_replaced", since=mark)["old_pid"] == lost
    assert_serves(server)


@pytest.mark.parametrize("model", ALONE.values(), ids=ALONE.keys())
def test_a_model_that_can_not_be_shared_is_served_and_says_why(live: Live, model: Model) -> None:
    server, mark = live.server, live.server.mark()

    serve(live, model)

    info, swap = server.info(), server.wait_for("model_swapped", since=mark)
    assert info["workers_share"] is False
    assert re.search(model.says, info["workers_share_reason"]), info["workers_share_reason"]
    assert "/" not in info["workers_share_reason"]
    assert swap["workers_share"] is False
    assert swap["workers_share_reason"] == info["workers_share_reason"]
    assert len(server.working()) == WORKERS
    wait_until(lambda: not templates(server), "no template is kept")
    assert_replaces(server)


@pytest.mark.parametrize("model", TOGETHER.values(), ids=TOGETHER.keys())
def test_a_model_that_can_be_shared_is(live: Live, model: Model) -> None:
    server, mark = live.server, live.server.mark()

    serve(live, model)

    info, swap = server.info(), server.wait_for("model_swapped", since=mark)
    assert (info["workers_share"], info["workers_share_reason"]) == (True, None)
    assert swap["workers_share"] is True
    assert "workers_share_reason" not in swap
    wait_until(lambda: len(templates(server)) == 1, "the one before has ended")
    before = templates(server)
    assert_replaces(server)
    assert_replaces(server)
    assert templates(server) == before


def test_a_model_of_scikit_learn_is_shared(live: Live, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    table = pd.DataFrame({"amount": [1.0, 2.0, 3.0, 4.0]})
    model = LogisticRegression().fit(table, [0, 0, 1, 1])
    with warnings.catch_warnings(action="ignore"):
        mlflow.sklearn.save_model(model, str(tmp_path / "model"), input_example=table)
    live.serve(tmp_path / "model")

    assert live.server.info()["workers_share"] is True
    answer = live.server.predict({"inputs": {"amount": [1.0, 4.0]}})
    assert answer.json == {"predictions": [0, 1]}


def test_what_a_shared_model_keeps_on_disk_outlives_its_workers(live: Live) -> None:
    keeps = Model(
        """
        import pathlib, tempfile
        self.directory = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.directory.name) / "words"
        self.path.write_text("done")
        """,
        """
        import os
        assert self.path.read_text() == "done"
        if model_input.text[0] == "leave":
            os._exit(0)
        """,
    )
    serve(live, keeps)
    assert live.server.info()["workers_share"] is True
    # A spare worker is asked that, and another one that is good: it ends in good order.
    assert live.server.predict(text("leave")).status == 500
    assert_replaces(live.server)


def test_by_the_setting_nothing_is_shared(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    directory = tmp_path_factory.mktemp("off")
    with serving(directory, registry, saved, "not-shared", SHARE_MODEL="off", WORKERS="2") as live:
        info = live.server.info()
        assert info["workers_share"] is False
        assert "SHARE_MODEL" in info["workers_share_reason"]
        assert live.server.named("template") == []
        assert len(live.server.working()) == WORKERS


def test_workers_that_end_with_their_template_are_collected(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    # Some of the workers come up, and some do not; nor do those that load it by themselves then.
    directory = tmp_path_factory.mktemp("collected")
    once = directory / "once"
    load = f"""
        import os, pathlib, resource
        pathlib.Path({str(once)!r}).touch(exist_ok=False)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        few = len(os.listdir("/proc/self/fd")) + 2
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    """
    settings = {"WORKERS": "8", "POLL_INTERVAL_SECONDS": "0", "SANDBOX_WRITABLE": str(directory)}
    with serving(directory, registry, saved, "collected", **settings) as live:
        live.promote(live.add(saved.save("return ['never'] * len(model_input)", load=load)))
        for _ in range(8):
            assert live.server.reload().status == 500
            once.unlink()
        assert_serves_still(live.server)


def test_a_model_that_can_not_even_be_forked_once_is_served(live: Live) -> None:
    load = """
        import os, resource
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, most))
    """
    serve(live, Model(load))
    info = live.server.info()
    assert (info["workers_share"], len(live.server.working())) == (False, WORKERS)
    assert "no process can be started" in info["workers_share_reason"]
    wait_until(lambda: not templates(live.server), "no template is kept")


def assert_serves_still(server: Server) -> None:
    """What served before does, and nothing that has ended is left."""
    assert server.predict(text("hello")).json == {"predictions": ["first"]}

    def in_order() -> bool:
        return not [p for p in server.processes() if status_of(p) == psutil.STATUS_ZOMBIE]

    wait_until(in_order, "all that have ended are collected", 10)


def test_what_is_not_to_be_shared_loads_with_all_the_threads_that_it_will_have(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    model = saved.save(
        "return [self.threads] * len(model_input)",
        load="import os; self.threads = os.environ['OMP_NUM_THREADS']",
    )
    directory = tmp_path_factory.mktemp("threads")
    with serving(directory, registry, saved, "threads", model, SHARE_MODEL="off") as live:
        answer = live.server.predict(text("how many"))
        assert answer.json == {"predictions": [thread_variables(1)["OMP_NUM_THREADS"]]}


def test_openmps_threads_sleep_while_they_wait_unless_the_user_says_otherwise(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    model = saved.save(
        "import os; return [os.environ['OMP_WAIT_POLICY']] * len(model_input)",
    )
    for name, said in {"passive": {}, "active": {"OMP_WAIT_POLICY": "active"}}.items():
        directory = tmp_path_factory.mktemp(name)
        with serving(directory, registry, saved, name, model, **said) as live:
            assert live.server.predict(text("how")).json == {"predictions": [name]}


def test_what_the_user_set_for_openmp_is_for_the_workers(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> None:
    # Its pool is there as soon as it has predicted, unless it has but one thread.
    model = saved.save(
        """
        import os
        from threadpoolctl import threadpool_info
        self.model.predict(self.rows)
        counts = {info["user_api"]: info["num_threads"] for info in threadpool_info()}
        told = f"{os.environ['OMP_NUM_THREADS']} {counts['openmp']} {counts['blas']}"
        return [told] * len(model_input)
        """,
        load="""
        import numpy
        from sklearn.ensemble import HistGradientBoostingClassifier
        self.rows = numpy.arange(4000.0).reshape(2000, 2)
        self.model = HistGradientBoostingClassifier(max_iter=3)
        self.model.fit(self.rows, self.rows[:, 0] > 2000)
        """,
    )
    directory = tmp_path_factory.mktemp("openmp")
    with serving(directory, registry, saved, "openmp", model, OMP_NUM_THREADS="3") as live:
        info = live.server.info()
        assert info["workers_share"] is True, info["workers_share_reason"]
        assert live.server.predict(text("hello")).json == {"predictions": ["3 3 3"]}
