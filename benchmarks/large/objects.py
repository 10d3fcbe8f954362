"""A model of objects by type hint that costs next to nothing."""

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Objects(PythonModel):
    """Counts keys."""

    def predict(  # type: ignore[override]
        self, model_input: list[dict[str, Any]], params: object = None
    ) -> list[int]:
        """How many keys each object has."""
        return [*map(len, model_input)]


set_model(Objects())
