"""Which installed modules loading a model is going to import, as far as its `MLmodel` tells.

Nothing that is written there is imported: it chooses among the modules below, which are those that
`_load_pyfunc` of each flavor imports (mlflow/FLAVOR/__init__.py).
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow.models import Model

# The parts that most pipelines are made of.
SKLEARN = (
    "mlflow.sklearn",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)
SKOPS = "skops.io"

# By the flavor that loads the model.
_FLAVORS = {
    "catboost": ("mlflow.catboost", "catboost"),
    "lightgbm": ("mlflow.lightgbm", "lightgbm"),
    "onnx": ("mlflow.onnx", "onnxruntime"),
    "prophet": ("mlflow.prophet", "prophet.serialize"),
    "pytorch": ("mlflow.pytorch", "torch"),
    "sentence_transformers": ("mlflow.sentence_transformers", "sentence_transformers"),
    "sklearn": SKLEARN,
    "spacy": ("mlflow.spacy", "spacy"),
    "statsmodels": ("mlflow.statsmodels", "statsmodels.iolib.api"),
    "transformers": ("mlflow.transformers", "transformers.pipelines"),
    "xgboost": ("mlflow.xgboost", "xgboost"),
}
# What `torch.export.load` imports once it is called.
_EXPORTED_TORCH = ("torch.export.pt2_archive._package", "torch.export._trace")


def needed(path: str) -> tuple[str, ...]:
    """Modules of installed packages that loading the model at a local path imports.

    None where that is not known: for a model from code, for a flavor that is not listed above, and
    for an `MLmodel` that can't be read, as loading will tell.
    """
    try:
        return tuple(_needed(Path(path), Model.load(path).flavors))
    except Exception as error:
        # Whatever the file holds.
        logging.getLogger(__name__).debug("can't tell what a model imports: %r", error)
        return ()


def _needed(path: Path, flavors: dict[str, Any]) -> Iterator[str]:
    loads = flavors["python_function"]
    # `code_paths` come first on the path.
    own = {each.stem for each in (path / loads["code"]).iterdir()} if loads.get("code") else set()
    for module in _imported(path, flavors, loads):
        if module.partition(".")[0] not in own:
            yield module


def _imported(path: Path, flavors: dict[str, Any], loads: dict[str, Any]) -> Iterator[str]:
    package, _, name = loads["loader_module"].partition(".")
    if package != "mlflow" or name not in _FLAVORS:
        return
    yield from _FLAVORS[name]
    flavor = flavors[name]
    if flavor.get("serialization_format") == "skops":
        yield SKOPS
    if name == "lightgbm" and flavor.get("model_class") != "lightgbm.basic.Booster":
        yield "mlflow.sklearn"
    if name == "pytorch" and (path / loads["data"] / "model.pt2").exists():
        yield from _EXPORTED_TORCH
    if name == "transformers" and flavor.get("framework") == "pt":
        yield "torch"
