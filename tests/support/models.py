"""Models to test with, written as code so that a worker needs nothing of the tests to load them."""

import textwrap
import uuid
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema

TEXT_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.string)])
)
TEXT_EXAMPLE = pd.DataFrame({"text": ["some text"]})

_MODULE = """
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

{preamble}

class Model(PythonModel):
    def load_context(self, context):
{load}

    def predict(self, context, model_input, params=None):
{predict}

set_model(Model())
"""


def save_model(
    directory: Path,
    predict: str,
    *,
    load: str = "pass",
    preamble: str = "",
    signature: ModelSignature | None = TEXT_SIGNATURE,
    input_example: Any = None,
    code_paths: list[str] | None = None,
) -> Path:
    """Save a pyfunc model whose methods have the given bodies.

    Args:
        directory: Where to make a directory for it.
        predict: Body of `predict(self, context, model_input, params=None)`.
        load: Body of `load_context(self, context)`.
        preamble: Code at the top of the module.

    Returns:
        The path of the saved model.
    """
    name = uuid.uuid4().hex
    code = directory / f"{name}.py"
    code.write_text(
        _MODULE.format(
            preamble=textwrap.dedent(preamble),
            load=_indented(load),
            predict=_indented(predict),
        )
    )
    path = directory / name
    with warnings.catch_warnings():
        # What MLflow warns of while it saves is not what is tested.
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(code),
            signature=signature,
            input_example=input_example,
            code_paths=code_paths,
            pip_requirements=["mlflow"],
        )
    return path


def _indented(body: str) -> str:
    return textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)


class Registry:
    """A Model Registry, and the short names for what tests do with it.

    Args:
        uri: Its tracking URI; an SQLite one needs no server.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def create(self, name: str) -> None:
        """Make a registered model."""
        self.client.create_registered_model(name)

    def add(self, name: str, path: Path) -> str:
        """Register a saved model as the next version and return its number."""
        return str(self.client.create_model_version(name, source=str(path)).version)

    def promote(self, name: str, version: str) -> None:
        """Move a version to Production, the only one there."""
        self.client.transition_model_version_stage(
            name, version, "Production", archive_existing_versions=True
        )

    def archive(self, name: str, version: str) -> None:
        """Move a version out of Production."""
        self.client.transition_model_version_stage(name, version, "Archived")

    def point(self, name: str, alias: str, version: str) -> None:
        """Move an alias."""
        self.client.set_registered_model_alias(name, alias, version)
