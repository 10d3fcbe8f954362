"""The text model behind BentoML. Runs in a virtual environment that has it."""

# mypy: disable-error-code="import-not-found, untyped-decorator"

import os

import bentoml
import mlflow.pyfunc
import pandas as pd


# Without its access log and its metrics, which halve its rate.
@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class TextModel:
    """Adaptive batching with BentoML's own bounds, but batches as large as this server's."""

    def __init__(self) -> None:
        self._model = mlflow.pyfunc.load_model(os.environ["MODEL_PATH"])

    @bentoml.api(batchable=True, max_batch_size=256)
    def predict(self, texts: list[str]) -> list[str]:
        """The label of each text."""
        labels: list[str] = self._model.predict(pd.DataFrame({"text": texts})).tolist()
        return labels
