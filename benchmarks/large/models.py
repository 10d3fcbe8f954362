"""A model of pydantic models by type hint that costs next to nothing."""

import pydantic
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Row(pydantic.BaseModel):
    """A text and two numbers."""

    text: str
    count: int
    weight: float


class Models(PythonModel):
    """Adds up numbers."""

    def predict(  # type: ignore[override]
        self, model_input: list[Row], params: object = None
    ) -> list[float]:
        """The sum of each row."""
        return [row.count + row.weight for row in model_input]


set_model(Models())
