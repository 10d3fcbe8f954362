"""Models that the protocol's tests load: MLflow calls `_load_pyfunc` with the saved data."""

from pathlib import Path
from typing import Any


class Echo:
    """Answers with the very input that it gets."""

    def predict(self, model_input: Any) -> Any:
        return model_input


class EchoWithParams:
    """Answers with the input and the parameters that it gets."""

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        return {"input": model_input, "params": params}


def _load_pyfunc(path: str) -> Any:
    name = Path(path).read_text()
    return globals()[name]()
