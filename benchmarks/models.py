"""The models that are served, and the registry that they are in."""

import csv
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from benchmarks.paths import PACKAGE, REPOSITORY

SEED = 0
TEXT_MODEL = "benchmark-text"
TEXT_TO_NUMBER = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.double)])
)
NUMBERS = ModelSignature(
    inputs=Schema([ColSpec(DataType.long, "chunks"), ColSpec(DataType.double, "seconds")])
)

_CORPUS = REPOSITORY / "demo" / "corpora" / "topics.tsv"
_ROW_SUMS = PACKAGE / "row_sums.py"
_CONFIGURED = PACKAGE / "configured.py"
_TEXT_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.string)])
)


@dataclass(frozen=True, slots=True)
class Traits:
    """What the model in configured.py is like.

    Attributes:
        array_mib: Size of a NumPy array that it holds, in MiB.
        objects_mib: Size of a dictionary of strings and floats that it holds, in MiB.
        load_seconds: What loading takes, beside making these.
        predict_seconds: What each prediction waits.
    """

    array_mib: float = 0.0
    objects_mib: float = 0.0
    load_seconds: float = 0.0
    predict_seconds: float = 0.0


class Registry:
    """A Model Registry in an SQLite file.

    Args:
        directory: Where the file and the artifacts go.
    """

    def __init__(self, directory: Path) -> None:
        self.uri = f"sqlite:///{directory}/mlflow.db"
        mlflow.set_tracking_uri(self.uri)
        self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        experiment = self._client.create_experiment("benchmark", f"{directory}/artifacts")
        mlflow.set_experiment(experiment_id=experiment)

    def add_text_models(self, versions: int) -> None:
        """Train a topic classifier once, and register it as that many versions of TEXT_MODEL."""
        corpus = read_corpus()
        pipeline = _text_pipeline().fit(corpus[["text"]], corpus["label"].to_numpy(dtype=str))
        for _ in range(versions):
            with mlflow.start_run():
                mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    registered_model_name=TEXT_MODEL,
                    signature=_TEXT_SIGNATURE,
                    input_example=corpus[["text"]].head(1),
                    pip_requirements=["scikit-learn", "pandas"],
                )

    def add_configured(self, name: str, traits: Traits, versions: int = 1) -> None:
        """Register the model in configured.py as that many versions of `name`."""
        for _ in range(versions):
            self.add_from_code(
                name,
                _CONFIGURED,
                model_config=asdict(traits),
                signature=TEXT_TO_NUMBER,
                input_example=pd.DataFrame({"text": ["text 0"]}),
            )

    def add_from_code(self, name: str, path: Path, **options: Any) -> None:
        """Register the model that a file sets as the next version of `name`.

        Args:
            name: Of the registered model.
            path: The file, which calls `mlflow.models.set_model`.
            options: Of `mlflow.pyfunc.log_model`.
        """
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model",
                python_model=os.fspath(path),
                registered_model_name=name,
                pip_requirements=["mlflow"],
                **options,
            )

    def add_saved(self, name: str, path: Path, versions: int = 1) -> None:
        """Register a model that was saved in a directory as that many versions of `name`, which is
        new."""
        with mlflow.start_run() as run:
            mlflow.log_artifacts(os.fspath(path), "model")
        source = f"{run.info.artifact_uri}/model"
        self._client.create_registered_model(name)
        for _ in range(versions):
            self._client.create_model_version(name, source, run.info.run_id)

    def promote(self, name: str, version: int) -> None:
        """Move a version to Production, the only one there."""
        self._client.transition_model_version_stage(
            name, str(version), "Production", archive_existing_versions=True
        )

    def download(self, name: str, version: int, directory: Path) -> Path:
        """Copy a version's files into `directory`, for servers that know no registry."""
        path: str = mlflow.artifacts.download_artifacts(
            f"models:/{name}/{version}", dst_path=str(directory)
        )
        return Path(path)


def read_corpus() -> pd.DataFrame:
    """Headlines in the column `text` and their topics in the column `label`."""
    return pd.read_csv(_CORPUS, sep="\t", names=["label", "text"], quoting=csv.QUOTE_NONE)


def some_texts(count: int) -> list[str]:
    """Headlines, the same ones every time."""
    texts: list[str] = read_corpus()["text"].sample(count, random_state=SEED).tolist()
    return texts


def _text_pipeline() -> Pipeline:
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    return Pipeline(
        [
            ("features", ColumnTransformer([("text", tfidf, "text")])),
            ("classifier", LogisticRegression(C=10.0, max_iter=1000, random_state=SEED)),
        ]
    )


def table(rows: int, columns: int) -> pd.DataFrame:
    """Random numbers with three decimals in the columns c0, c1, ..., the same ones every time."""
    numbers = np.random.default_rng(SEED).random((rows, columns)).round(3)
    return pd.DataFrame(numbers, columns=[f"c{index}" for index in range(columns)])


def save_row_sums(directory: Path, columns: int) -> Path:
    """Save the model in row_sums.py for that many columns of doubles, and return its path."""
    path = directory / f"row-sums-{columns}"
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.double, f"c{index}") for index in range(columns)]),
        outputs=Schema([ColSpec(DataType.double)]),
    )
    mlflow.pyfunc.save_model(
        os.fspath(path),
        python_model=os.fspath(_ROW_SUMS),
        signature=signature,
        input_example=table(1, columns),
        pip_requirements=["mlflow"],
    )
    return path


def row_sums(model_path: Path, frame: pd.DataFrame) -> list[float]:
    """What the model in row_sums.py answers when it is called directly."""
    sums: list[float] = mlflow.pyfunc.load_model(os.fspath(model_path)).predict(frame).tolist()
    return sums
