"""The types of models that are measured, and the environments that they live in."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.environments import ServingEnvironment


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of models.

    Attributes:
        key: What options and results call it.
        title: What people read.
        library: A key of ENVIRONMENTS.
        maker: The function below `saving` that saves one: its module and its name.
    """

    key: str
    title: str
    library: str
    maker: tuple[str, str]


KINDS: Mapping[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind("forest", "forest of 100 trees", "sklearn", ("tables", "forest")),
        Kind("xgboost", "XGBoost", "xgboost", ("boosting", "xgboost")),
        Kind("lightgbm", "LightGBM", "lightgbm", ("boosting", "lightgbm")),
        Kind("catboost", "CatBoost", "catboost", ("boosting", "catboost")),
        Kind("missing", "20 columns, missing values", "sklearn", ("tables", "missing")),
        Kind("unsigned", "no signature, no example", "sklearn", ("tables", "unsigned")),
        Kind("dates", "a date column", "sklearn", ("tables", "dates")),
        Kind("arrays", "an array column", "sklearn", ("tables", "arrays")),
        Kind("texts", "list[str]", "sklearn", ("texts", "typed")),
        Kind("onnx-unnamed", "ONNX, unnamed tensor", "onnx", ("graphs", "unnamed")),
        Kind("onnx-named", "ONNX, named tensor", "onnx", ("graphs", "named")),
        Kind("mlp", "torch, dense layers", "torch", ("networks", "dense")),
        Kind("images", "torch, images [n, 3, 32, 32]", "torch", ("networks", "images")),
        Kind("transformer", "transformers, classifier", "torch", ("texts", "classifier")),
        Kind("embeddings", "sentence embeddings", "torch", ("texts", "embeddings")),
    )
}

ENVIRONMENTS: Mapping[str, ServingEnvironment] = {
    "sklearn": ServingEnvironment("models-sklearn", ("scikit-learn",)),
    "xgboost": ServingEnvironment("models-xgboost", ("xgboost",)),
    "lightgbm": ServingEnvironment("models-lightgbm", ("lightgbm",)),
    "catboost": ServingEnvironment("models-catboost", ("catboost",)),
    "onnx": ServingEnvironment("models-onnx", ("onnx", "onnxruntime")),
    "torch": ServingEnvironment("models-torch", ("torch==2.13.0", "transformers")),
}
