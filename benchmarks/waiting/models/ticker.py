"""A model that streams the time: CLOCK_MONOTONIC, which all processes of the machine share."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Ticker(PythonModel):
    """Takes one row: the number of `chunks`, and the `seconds` from each to the next."""

    def predict(
        self, context: object, model_input: pd.DataFrame, params: object = None
    ) -> list[dict[str, Any]]:
        """All that `predict_stream` yields, at once."""
        return list(self.predict_stream(context, model_input.iloc[0].to_dict()))

    def predict_stream(
        self, context: object, model_input: Mapping[Any, float], params: object = None
    ) -> Iterator[dict[str, Any]]:
        """Each chunk's number, from 0, and the moment at which it was yielded.

        MLflow passes a row as a dictionary here (`PyFuncModel._predict_stream`).
        """
        for number in range(int(model_input["chunks"])):
            if number:
                time.sleep(model_input["seconds"])
            yield {"number": number, "at": time.monotonic()}


set_model(Ticker())
