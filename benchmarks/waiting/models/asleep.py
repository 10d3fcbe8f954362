"""A model whose `predict` is a coroutine that sleeps a second."""

import asyncio

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Asleep(PythonModel):
    """Answers each text with its length."""

    async def predict(
        self, context: object, model_input: pd.DataFrame, params: object = None
    ) -> list[float]:
        """The length of each text, a second later."""
        await asyncio.sleep(1.0)
        return [float(len(text)) for text in model_input["text"]]


set_model(Asleep())
