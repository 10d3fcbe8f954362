"""What the environment says beside the settings, and that workers get."""

import json
import warnings
from collections.abc import Iterator

import mlflow.pyfunc
import pytest

from tests.support.registry import Registry
from tests.support.server import Server

# Says how it is configured, and whether a module was there before it.
MODEL = """
import sys
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input: list[str], params=None):
        return [context.model_config["word"], str("xmlrpc.client" in sys.modules)]

set_model(Model())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Server]:
    """A server of that model."""
    directory = tmp_path_factory.mktemp("environment")
    module, path = directory / "module.py", directory / "model"
    module.write_text(MODEL)
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(module),
            pip_requirements=["mlflow"],
            model_config={"word": "saved"},
        )
    server = Server(
        tmp_path_factory.mktemp("scratch"),
        MODEL_URI=str(path),
        MLFLOW_TRACKING_URI=registry.uri,
        PRELOAD="no_such_module, xmlrpc.client",
        SERVING_MODEL_CONFIG=json.dumps({"word": "configured"}),
    )
    server.wait_healthy()
    yield server
    server.close()


def test_a_model_gets_the_configuration_that_mlflow_s_server_would_give_it(server: Server) -> None:
    word, _ = server.predict({"inputs": ["text"]}).json["predictions"]
    assert word == "configured"


def test_a_module_that_can_not_be_imported_is_warned_of_and_left_out(server: Server) -> None:
    _, other_is_imported = server.predict({"inputs": ["text"]}).json["predictions"]
    assert other_is_imported == "True"
    (warning,) = [event["message"] for event in server.find("worker_output", process="environment")]
    assert "can't preload no_such_module" in warning
