"""The demo's models: what they learn, and how they get into a registry."""

from collections.abc import Iterator

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from demo.models import MODELS, SENTIMENTS, TOPICS, DemoModel
from demo.training import main, read_corpus, train, wait_for_registry
from tests.demo.running import Demo

pytestmark = [
    # What MLflow's own modules do with the newest SQLAlchemy and pandas.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Model registry stages will be removed:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def registry(demo: Demo) -> Iterator[MlflowClient]:
    """The registry of a demo that trained the models."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(demo.mlflow_url)
    yield MlflowClient()
    mlflow.set_tracking_uri(before)


def predictions(model: DemoModel, version: int, texts: list[str]) -> list[str]:
    loaded = mlflow.pyfunc.load_model(f"models:/{model.name}/{version}")
    return [str(label) for label in loaded.predict(pd.DataFrame({"text": texts}))]


def accuracy(registry: MlflowClient, model: DemoModel, version: int) -> float:
    run_id = registry.get_model_version(model.name, str(version)).run_id
    assert run_id is not None
    return float(registry.get_run(run_id).data.metrics["held_out_accuracy"])


@pytest.mark.parametrize(("model", "least"), [(TOPICS, 90), (SENTIMENTS, 110)])
def test_corpus_is_large_enough_and_without_duplicates(model: DemoModel, least: int) -> None:
    corpus = read_corpus(model.corpus)
    assert corpus["label"].value_counts().min() >= least
    assert not corpus["text"].str.casefold().duplicated().any()
    assert not corpus.isna().any(axis=None)
    assert model.example not in set(corpus["text"])


@pytest.mark.parametrize(("model", "bound"), [(TOPICS, 0.8), (SENTIMENTS, 0.8)])
def test_version_2_is_good_and_better_than_version_1(
    registry: MlflowClient, model: DemoModel, bound: float
) -> None:
    first, second = (accuracy(registry, model, version) for version in (1, 2))
    assert second >= bound
    assert second > first + 0.05


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("model", "label"), [(TOPICS, "technology"), (SENTIMENTS, "positive")])
@pytest.mark.usefixtures("registry")
def test_both_versions_know_the_example(model: DemoModel, label: str, version: int) -> None:
    assert predictions(model, version, [model.example]) == [label]


@pytest.mark.usefixtures("registry")
def test_only_version_2_knows_health() -> None:
    text = "Doctors test a new vaccine on patients with asthma in three hospitals"
    assert predictions(TOPICS, 1, [text]) != ["health"]
    assert predictions(TOPICS, 2, [text]) == ["health"]


def test_signature_is_one_column_of_text(registry: MlflowClient) -> None:
    for model in MODELS:
        loaded = mlflow.pyfunc.load_model(f"models:/{model.name}@production")
        signature = loaded.metadata.signature
        assert signature.inputs.to_dict() == [{"type": "string", "name": "text", "required": True}]
        assert signature.outputs.to_dict() == [{"type": "string", "required": True}]
        assert loaded.input_example is not None


def test_version_1_is_in_production(registry: MlflowClient) -> None:
    for model in MODELS:
        aliases, versions = state(registry, model)
        assert aliases == {"production": 1}
        assert [(number, stage) for number, _run_id, stage in versions] == [
            (1, "Production"),
            (2, "None"),
        ]


def test_training_again_changes_nothing(registry: MlflowClient) -> None:
    before = [state(registry, model) for model in MODELS]
    lines: list[str] = []
    train(say=lines.append)
    assert [state(registry, model) for model in MODELS] == before
    assert "  version 1: registered before, reused" in lines


def test_training_again_leaves_production_to_whom_it_was_given(registry: MlflowClient) -> None:
    registry.set_registered_model_alias(TOPICS.name, "production", "2")
    registry.transition_model_version_stage(TOPICS.name, "1", "Archived")
    registry.transition_model_version_stage(TOPICS.name, "2", "Production")
    before = state(registry, TOPICS)
    train(say=lambda _line: None)
    assert state(registry, TOPICS) == before


def test_training_goes_on_where_it_was_cut_short(registry: MlflowClient) -> None:
    registry.delete_model_version(SENTIMENTS.name, "2")
    train(say=lambda _line: None)
    _aliases, versions = state(registry, SENTIMENTS)
    # MLflow gives no number twice.
    assert [(number, stage) for number, _run_id, stage in versions] == [
        (1, "Production"),
        (3, "None"),
    ]


def state(
    registry: MlflowClient, model: DemoModel
) -> tuple[dict[str, int], list[tuple[int, str | None, str | None]]]:
    """The aliases, and the number, run and stage of each version."""
    versions = registry.search_model_versions(f"name = '{model.name}'")
    return (
        {a: int(number) for a, number in registry.get_registered_model(model.name).aliases.items()},
        sorted((int(v.version), v.run_id, v.current_stage) for v in versions),
    )


def test_silence_of_mlflow_is_reported(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{unused_tcp_port}")
    try:
        with pytest.raises(MlflowException, match="Connection refused"):
            wait_for_registry(0.0)
    finally:
        mlflow.set_tracking_uri(before)


def test_address_of_mlflow_is_required(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main() == 2
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().err
