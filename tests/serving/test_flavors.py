"""PRELOAD=auto: a version comes from a process that has imported what its flavor needs, and that is
there for as long as a release needs it."""

import contextlib
import warnings
from pathlib import Path

import mlflow.sklearn
import numpy as np
import psutil
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from server.errors import ReloadFailed
from server.processes.environment import Environment
from server.serving.swaps import Trigger
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.waiting import eventually

# Says whether scikit-learn was there before the model, which does not need it.
SAYS_WHETHER_IMPORTED = """
    import sys
    return [str("sklearn" in sys.modules)] * len(model_input)
"""
ROWS = np.array([[0.0], [1.0]])


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that looks at each version's flavor, which is the default."""
    # These versions take different requests.
    return await start_gateway(rehearsal_requests=0)


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of scikit-learn's flavor."""
    path = tmp_path_factory.mktemp("estimator") / "model"
    with warnings.catch_warnings():
        # What MLflow warns of while it saves is not what is tested.
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            LogisticRegression().fit(ROWS, [0, 1]),
            str(path),
            signature=infer_signature(ROWS, np.array([0, 1])),
            input_example=ROWS,
            pip_requirements=["scikit-learn"],
        )
    return path


def flavors(environment: Environment) -> list[psutil.Process]:
    """The processes that have imported what a flavor needs."""
    found = []
    for pid in environment.family:
        # What retires may end at any time.
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process] if process.name() == "flavor" else []
    return found


async def parents(client: Client) -> set[int]:
    """Which processes the templates of the workers come from."""
    templates = [psutil.Process(pid).ppid() for pid in await client.worker_pids()]
    return {psutil.Process(template).ppid() for template in templates}


async def test_each_version_comes_from_where_its_flavor_is_and_a_flavor_ends_with_its_last(
    client: Client, gateway: Gateway, environment: Environment, estimator: Path
) -> None:
    await gateway.serve(estimator)
    (flavor,) = flavors(environment)
    assert await parents(client) == {flavor.pid}
    answer = await client.predict({"inputs": ROWS.tolist()})
    assert answer.json == {"predictions": [0, 1]}

    # The next one finds it there.
    await gateway.serve(estimator)
    assert await parents(client) == {flavor.pid}
    assert flavors(environment) == [flavor]

    await gateway.serve(gateway.saved.save(SAYS_WHETHER_IMPORTED))
    assert await parents(client) == {environment.pid}
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["False"]}

    async def given_back() -> bool:
        return flavors(environment) == []

    await eventually(given_back, "it has ended")


async def test_a_version_that_fails_leaves_the_flavor_that_serves_and_no_other(
    client: Client, gateway: Gateway, environment: Environment, estimator: Path, tmp_path: Path
) -> None:
    await gateway.serve("from code")
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in estimator.iterdir():
        # All but the model itself.
        if file.suffix not in (".skops", ".pkl"):
            (broken / file.name).write_bytes(file.read_bytes())
    version = gateway.add(broken)
    with pytest.raises(ReloadFailed):
        await gateway.swap_to(version)
    assert flavors(environment) == []

    await gateway.serve(estimator)
    (flavor,) = flavors(environment)
    with pytest.raises(ReloadFailed):
        await gateway.swap_to(version)
    assert flavors(environment) == [flavor]
    assert (await client.predict({"inputs": ROWS.tolist()})).json == {"predictions": [0, 1]}


async def test_the_log_tells_of_what_was_imported(
    gateway: Gateway, estimator: Path, log: Log
) -> None:
    await gateway.serve("from code")
    await gateway.serve(estimator)
    told = await log.wait_for("flavor_preloaded")
    assert "sklearn.pipeline" in told["modules"]


async def test_where_modules_are_named_no_flavor_counts(
    start_gateway: StartGateway, environment: Environment, estimator: Path
) -> None:
    gateway = await start_gateway(preload=(), rehearsal_requests=0)
    before = flavors(environment)
    await gateway.serve(estimator)
    await gateway.deployment.reload(Trigger.MANUAL)
    assert flavors(environment) == before
