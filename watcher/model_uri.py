"""Reading MODEL_URI, without MLflow: the gateway never imports it.

The forms are those of `mlflow.store.artifact.utils.models._parse_model_uri`.
"""

import enum
import re
from dataclasses import dataclass


class Form(enum.Enum):
    """What a model URI names."""

    STAGE = "stage"
    ALIAS = "alias"
    VERSION = "version"
    LATEST = "latest"
    MODEL_ID = "model id"
    RUN = "run"
    LOCATION = "location"


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A parsed MODEL_URI. `name` and `selector` are set as the form needs them:
    model and stage, model and alias, model and number, model alone, logged model id, run id."""

    text: str
    form: Form
    name: str = ""
    selector: str = ""

    @property
    def moves(self) -> bool:
        """Whether the registry can make this URI mean another version."""
        return self.form in (Form.STAGE, Form.ALIAS, Form.VERSION, Form.LATEST)

    @property
    def default_model_name(self) -> str:
        """The name to show for the model when MODEL_NAME is not set."""
        return self.name or self.text.rstrip("/").rpartition("/")[2] or self.text


_MODELS = re.compile(r"models:/+(?P<name>[^/]+?)(?:/(?P<suffix>[^/]+)|@(?P<alias>[^/@]+))?/?")
_RUN = re.compile(r"runs:/+(?P<run>[^/]+)/.+")


def parse_model_uri(text: str) -> ModelUri:
    """Tell which form of model URI `text` is.

    Raises:
        ValueError: it is a `models:/` or `runs:/` URI that MLflow would not understand.
    """
    if text.startswith("runs:"):
        if run := _RUN.fullmatch(text):
            return ModelUri(text, Form.RUN, selector=run["run"])
        raise ValueError("a run URI has the form runs:/RUN_ID/path/to/model")
    if not text.startswith("models:"):
        return ModelUri(text, Form.LOCATION)
    match = _MODELS.fullmatch(text)
    if match is None:
        raise ValueError(
            "a model URI has the form models:/NAME/STAGE, models:/NAME@ALIAS, models:/NAME/NUMBER, "
            "models:/NAME/latest or models:/MODEL_ID"
        )
    name, suffix, alias = match["name"], match["suffix"], match["alias"]
    if alias is not None:
        return ModelUri(text, Form.ALIAS, name, alias)
    if suffix is None:
        return ModelUri(text, Form.MODEL_ID, selector=name)
    if suffix.isdigit():
        return ModelUri(text, Form.VERSION, name, suffix)
    if suffix.lower() == "latest":
        return ModelUri(text, Form.LATEST, name)
    return ModelUri(text, Form.STAGE, name, suffix)
