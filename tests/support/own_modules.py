"""Models that bring modules of their own."""

import textwrap
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc

_LOADER = """
class Model:
    def predict(self, model_input):
        return [self.word()]

    def word(self):
{word}

def _load_pyfunc(path):
    return Model()
"""


def loader(word: str) -> str:
    """The module of a model that answers what this body of a function returns."""
    return _LOADER.format(word=textwrap.indent(textwrap.dedent(word), " " * 8))


def save(directory: Path, files: dict[str, str], **options: Any) -> Path:
    """Save a model with modules of its own, none of which is imported here."""
    code = directory / "code"
    for name, text in files.items():
        path = code / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(
            str(directory / "model"),
            code_paths=sorted(str(path) for path in code.iterdir()),
            pip_requirements=[],
            **options,
        )
    return directory / "model"
