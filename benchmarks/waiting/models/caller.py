"""A model that asks another service over HTTP, whose URL is in its configuration."""

import urllib.request
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

_PATIENCE_SECONDS = 30


class Caller(PythonModel):
    """Answers each text with the length of what the service says."""

    def load_context(self, context: Any) -> None:
        """Take the service's URL."""
        self._url = context.model_config["url"]

    def predict(
        self, context: object, model_input: pd.DataFrame, params: object = None
    ) -> list[float]:
        """One call for each text."""
        return [self._ask() for _ in model_input["text"]]

    def _ask(self) -> float:
        # The benchmark's own service, by a URL that it has made.
        with urllib.request.urlopen(self._url, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
            return float(len(answer.read()))


set_model(Caller())
