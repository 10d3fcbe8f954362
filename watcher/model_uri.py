"""Reading MODEL_URI, without MLflow: the gateway never imports it.

The forms are those of `mlflow.store.artifact.utils.models._parse_model_uri`, without the slashes
at the end that MLflow strips before (`ModelsArtifactRepository.split_models_uri`).
"""

import enum
import re
from dataclasses import dataclass
from urllib.parse import urlparse


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
    if text.startswith("models:"):
        return _parse_registered(text)
    return ModelUri(text, Form.LOCATION)


def _parse_registered(text: str) -> ModelUri:
    path = urlparse(text, allow_fragments=False).path
    match path.strip("/").split("/") if path.startswith("/") else []:
        case [name, suffix] if name.strip() and suffix.strip():
            if suffix.isdigit():
                return ModelUri(text, Form.VERSION, name, suffix)
            if suffix.lower() == "latest":
                return ModelUri(text, Form.LATEST, name)
            return ModelUri(text, Form.STAGE, name, suffix)
        case [name] if "@" in name:
            name, _, alias = name.rpartition("@")
            if alias.strip():
                return ModelUri(text, Form.ALIAS, name, alias)
        # models:/NAME/ is what an empty variable makes of models:/NAME/$STAGE.
        case [model_id] if model_id.strip() and not path.endswith("/"):
            return ModelUri(text, Form.MODEL_ID, selector=model_id)
    raise ValueError(
        "a model URI has the form models:/NAME/STAGE, models:/NAME@ALIAS, models:/NAME/NUMBER, "
        "models:/NAME/latest or models:/MODEL_ID"
    )
