"""Trains the demo's models and registers them: `python -m demo.training`.

It may run again at any time: what is registered already is left as it is.
"""

import csv
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import mlflow
import mlflow.sklearn
import pandas as pd
import sklearn
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from demo.models import MODELS, DemoModel, Recipe

SEED = 0
HELD_OUT_SHARE = 0.25
PATIENCE_SECONDS = 60.0

RECIPE_TAG = "demo_recipe"
"""Tag of a registered version that tells which recipe it was made by."""

STAGE = "Production"
ALIAS = "production"

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "text")]),
    outputs=Schema([ColSpec(DataType.string)]),
)


def read_corpus(path: Path) -> pd.DataFrame:
    """Read labelled texts into the columns `label` and `text`."""
    return pd.read_csv(path, sep="\t", names=["label", "text"], quoting=csv.QUOTE_NONE)


def fit(corpus: pd.DataFrame, recipe: Recipe) -> Pipeline:
    """Train on the part of `corpus` that `recipe` allows.

    Returns:
        A model from a data frame with the column `text` to an array of labels.
    """
    known = corpus[~corpus["label"].isin(recipe.unknown)]
    lesson = known.groupby("label").sample(frac=recipe.share, random_state=SEED)
    # So small a problem only loses by threads, and on a busy machine by far.
    with threadpool_limits(1):
        return _untrained().fit(lesson[["text"]], lesson["label"].to_numpy(dtype=str))


def _untrained() -> Pipeline:
    # Parts of words rather than words: with so few texts most inflected forms are met just once.
    tfidf = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), min_df=2, sublinear_tf=True)
    return Pipeline(
        [
            ("features", ColumnTransformer([("text", tfidf, "text")])),
            ("classifier", LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)),
        ]
    )


def held_out_accuracy(corpus: pd.DataFrame, recipe: Recipe) -> float:
    """Part of a held-out quarter of the corpus, with every label in it, that is labelled rightly.

    The quarter is the same for every recipe, so that versions compare.
    """
    lessons, exam = train_test_split(
        corpus, test_size=HELD_OUT_SHARE, stratify=corpus["label"], random_state=SEED
    )
    answers = fit(lessons, recipe).predict(exam[["text"]])
    return float(accuracy_score(exam["label"], answers))


def train(say: Callable[[str], None] = print) -> None:
    """Register what is missing of every model at MLflow's current tracking URI.

    Args:
        say: Takes each line of progress.

    Raises:
        MlflowException: the tracking server refused or failed.
    """
    client = MlflowClient()
    for model in MODELS:
        say(model.name)
        _train_model(client, model, say)


def _train_model(client: MlflowClient, model: DemoModel, say: Callable[[str], None]) -> None:
    corpus = read_corpus(model.corpus)
    versions = _registered(client, model)
    for recipe in model.recipes:
        version = versions.get(recipe.number)
        if version is None:
            version = _register(client, model, recipe, corpus)
            versions[recipe.number] = version
            say(f"  version {version.version}: {version.description}")
        else:
            say(f"  version {version.version}: registered before, reused")
    _put_into_production(client, versions[model.recipes[0].number], say)


def _registered(client: MlflowClient, model: DemoModel) -> dict[int, ModelVersion]:
    """The versions that were made before, by the number of their recipe."""
    versions = client.search_model_versions(f"name = '{model.name}'")
    return {int(v.tags[RECIPE_TAG]): v for v in versions if RECIPE_TAG in v.tags}


def _register(
    client: MlflowClient, model: DemoModel, recipe: Recipe, corpus: pd.DataFrame
) -> ModelVersion:
    accuracy = held_out_accuracy(corpus, recipe)
    pipeline = fit(corpus, recipe)
    labels = ", ".join(pipeline.classes_)
    with mlflow.start_run(
        experiment_id=_experiment_id(client, model.name), run_name=f"recipe-{recipe.number}"
    ) as run:
        mlflow.log_params({"share_of_corpus": recipe.share, "labels": labels})
        mlflow.log_metric("held_out_accuracy", accuracy)
        logged = mlflow.sklearn.log_model(
            pipeline,
            name="model",
            signature=SIGNATURE,
            input_example=pd.DataFrame({"text": [model.example]}),
            pip_requirements=[
                f"scikit-learn=={sklearn.__version__}",
                f"pandas=={pd.__version__}",
            ],
        )
    _create_registered_model(client, model.name)
    return client.create_model_version(
        model.name,
        source=logged.model_uri,
        run_id=run.info.run_id,
        model_id=logged.model_id,
        tags={RECIPE_TAG: str(recipe.number)},
        description=f"knows {labels}; held-out accuracy {accuracy:.2f}",
    )


def _experiment_id(client: MlflowClient, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    return client.create_experiment(name) if experiment is None else experiment.experiment_id


def _create_registered_model(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        client.create_registered_model(name)


def _put_into_production(
    client: MlflowClient, version: ModelVersion, say: Callable[[str], None]
) -> None:
    """Give `version` the stage and the alias, each only if no version holds it."""
    name = version.name
    siblings = client.search_model_versions(f"name = '{name}'")
    if all(sibling.current_stage != STAGE for sibling in siblings):
        with warnings.catch_warnings():
            # Stages are deprecated in favour of aliases; the demo shows both on purpose.
            warnings.filterwarnings(
                "ignore", ".*Model registry stages will be removed", category=FutureWarning
            )
            client.transition_model_version_stage(name, version.version, STAGE)
        say(f"  version {version.version} is now in stage {STAGE}")
    if ALIAS not in client.get_registered_model(name).aliases:
        client.set_registered_model_alias(name, ALIAS, version.version)
        say(f"  version {version.version} now has the alias {ALIAS}")


def wait_for_registry(seconds: float) -> None:
    """Return when MLflow's API answers.

    Args:
        seconds: Patience.

    Raises:
        MlflowException: what was wrong at the last attempt, when patience ran out.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            MlflowClient().search_experiments(max_results=1)
        except MlflowException:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(1.0)


def main() -> int:
    """Train against MLFLOW_TRACKING_URI and return the exit code."""
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        print("MLFLOW_TRACKING_URI is not set. It takes MLflow's address.", file=sys.stderr)
        return 2
    # MLflow's own patience with each request is minutes, and it prints the address of each run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # It would warn at length where git isn't installed, as in a container.
    logging.getLogger("mlflow.utils.git_utils").setLevel(logging.ERROR)
    try:
        wait_for_registry(PATIENCE_SECONDS)
        train(lambda line: print(line, flush=True))
    except MlflowException as error:
        print(f"MLflow at {mlflow.get_tracking_uri()} failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
