"""Models to test with, written as code so that a worker needs nothing of the tests to load them."""

import textwrap
import uuid
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tests.support.agents import save_speaking

TEXT_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.string)])
)
TEXT_EXAMPLE = pd.DataFrame({"text": ["some text"]})
TEXT_REQUEST = {"instances": ["some text"]}

# The annotation keeps MLflow from warning that there is none.
_MODULE = """
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

{preamble}

class Model(PythonModel):
    def load_context(self, context):
{load}

    {define} predict(self, context, model_input: pd.DataFrame, params=None):
{predict}

{stream}
set_model(Model())
"""
_STREAM = """
    {define} predict_stream(self, context, model_input: pd.DataFrame, params=None):
{stream}
"""


def save_model(
    directory: Path,
    predict: str,
    *,
    stream: str | None = None,
    asynchronous: bool = False,
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
        stream: Body of `predict_stream`, which takes the same; by default there is none.
        asynchronous: Whether both are coroutines.
        load: Body of `load_context(self, context)`.
        preamble: Code at the top of the module; it runs while the model is saved, too.

    Returns:
        The path of the saved model.
    """
    name = uuid.uuid4().hex
    code = directory / f"{name}.py"
    define = "async def" if asynchronous else "def"
    code.write_text(
        _MODULE.format(
            preamble=textwrap.dedent(preamble),
            load=_indented(load),
            define=define,
            predict=_indented(predict),
            stream=_STREAM.format(define=define, stream=_indented(stream)) if stream else "",
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


def synchronous(code: str) -> str:
    """The same code without coroutines."""
    return (
        code.replace("await asyncio.sleep", "time.sleep")
        .replace("await ", "")
        .replace("async ", "")
    )


def _indented(body: str) -> str:
    return textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)


class SavedModels:
    """Models saved in one directory.

    Args:
        directory: Where they are saved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._by_word: dict[str, Path] = {}
        self._speaking: dict[str, Path] = {}

    def saying(self, word: str) -> Path:
        """A model that answers each row with `word`; one for each word."""
        if word not in self._by_word:
            self._by_word[word] = self.save(f"return [{word!r}] * len(model_input)")
        return self._by_word[word]

    def speaking(self, speaks: str) -> Path:
        """A model that speaks `chat`, `agent` or `responses`, see `tests.support.agents`."""
        if speaks not in self._speaking:
            self._speaking[speaks] = save_speaking(self.directory, speaks)
        return self._speaking[speaks]

    def save(self, predict: str, **options: Any) -> Path:
        """Save a model; the options are those of `save_model`."""
        options.setdefault("input_example", TEXT_EXAMPLE)
        return save_model(self.directory, predict, **options)
