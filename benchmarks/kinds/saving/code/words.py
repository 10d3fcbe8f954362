"""A model with type hints, which counts words."""

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Words(PythonModel):
    """Tells short texts from long ones."""

    def predict(self, model_input: list[str]) -> list[str]:  # type: ignore[override]
        """`short` or `long`, and how many words, for each text."""
        counts = (len(text.split()) for text in model_input)
        return [f"{'long' if count > 8 else 'short'}: {count}" for count in counts]


set_model(Words())
