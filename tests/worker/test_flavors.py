"""Which modules a model's files say that loading it imports."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import mlflow.sklearn
import pytest
from sklearn.linear_model import LogisticRegression

from server.worker import flavors
from tests.support.models import SavedModels, save_model

XGBOOST = """
flavors:
  python_function:
    data: model.ubj
    loader_module: mlflow.xgboost
  xgboost:
    data: model.ubj
    model_class: xgboost.sklearn.XGBClassifier
"""
LIGHTGBM = """
flavors:
  python_function:
    data: {data}
    loader_module: mlflow.lightgbm
  lightgbm:
    data: {data}
    model_class: {model_class}
    serialization_format: {serialization_format}
"""
PYTORCH = """
flavors:
  python_function:
    data: data
    loader_module: mlflow.pytorch
  pytorch:
    model_data: data
"""
TRANSFORMERS = """
flavors:
  python_function:
    loader_module: mlflow.transformers
  transformers:
    framework: {framework}
"""
OWN_LOADER = """
flavors:
  python_function:
    loader_module: {loader}
"""


def needed(directory: Path, text: str) -> set[str]:
    """What a model with this `MLmodel` needs."""
    (directory / "MLmodel").write_text(text)
    return set(flavors.needed(str(directory)))


@pytest.mark.parametrize("serialization_format", ["skops", "cloudpickle"])
def test_a_scikit_learn_model_needs_what_it_is_read_with(
    tmp_path: Path, serialization_format: str
) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    path = tmp_path / "model"
    with warnings.catch_warnings():
        # What MLflow warns of while it saves is not what is tested.
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            str(path),
            serialization_format=serialization_format,
            pip_requirements=["scikit-learn"],
        )
    found = set(flavors.needed(str(path)))
    assert {"mlflow.sklearn", "sklearn.pipeline"} <= found
    assert ("skops.io" in found) is (serialization_format == "skops")


def test_other_flavors_need_their_libraries(tmp_path: Path) -> None:
    assert needed(tmp_path, XGBOOST) == {"mlflow.xgboost", "xgboost"}
    booster = LIGHTGBM.format(
        data="model.lgb", model_class="lightgbm.basic.Booster", serialization_format="null"
    )
    assert needed(tmp_path, booster) == {"mlflow.lightgbm", "lightgbm"}
    estimator = LIGHTGBM.format(
        data="model.skops",
        model_class="lightgbm.sklearn.LGBMClassifier",
        serialization_format="skops",
    )
    assert needed(tmp_path, estimator) == {
        *("mlflow.lightgbm", "lightgbm", "mlflow.sklearn", "skops.io")
    }
    assert "torch" in needed(tmp_path, TRANSFORMERS.format(framework="pt"))
    assert "torch" not in needed(tmp_path, TRANSFORMERS.format(framework="tf"))


def test_an_exported_network_needs_more_than_a_pickled_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert needed(tmp_path, PYTORCH) == {"mlflow.pytorch", "torch"}
    (tmp_path / "data" / "model.pt2").touch()
    assert needed(tmp_path, PYTORCH) > {"mlflow.pytorch", "torch"}


def test_nothing_is_known_of_a_model_from_code(saved: SavedModels) -> None:
    assert flavors.needed(str(saved.saying("one"))) == ()


@pytest.mark.parametrize(
    "loader", ["xgboost", "mlflow", "mlflow.xgboost_too", "os", "own.xgboost", "[mlflow.xgboost]"]
)
def test_a_loader_of_the_model_s_own_is_never_named(tmp_path: Path, loader: str) -> None:
    assert needed(tmp_path, OWN_LOADER.format(loader=loader)) == set()


def test_modules_that_the_model_brings_itself_are_left_out(tmp_path: Path) -> None:
    own = tmp_path / "xgboost.py"
    own.write_text("")
    path = save_model(tmp_path, "return []", code_paths=[str(own)])
    with_code = XGBOOST.replace("    data: model.ubj\n    loader", "    code: code\n    loader")
    assert needed(path, with_code) == {"mlflow.xgboost"}


@pytest.mark.parametrize("text", ["", "flavors: []", "flavors: {}", "[", "\0", XGBOOST[:60]])
def test_of_a_file_that_can_not_be_read_nothing_is_said(tmp_path: Path, text: str) -> None:
    assert needed(tmp_path, text) == set()
    assert flavors.needed(str(tmp_path / "missing")) == ()


def test_mlflow_has_each_of_these_flavors() -> None:
    for modules in flavors._FLAVORS.values():
        spec = importlib.util.find_spec(modules[0])
        assert spec is not None
        assert spec.origin is not None
        assert "def _load_pyfunc(" in Path(spec.origin).read_text()


def test_loading_finds_all_of_scikit_learn_imported(tmp_path: Path) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    path = tmp_path / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(model, str(path), pip_requirements=["scikit-learn"])
    code = f"""
import importlib, sys
import mlflow.pyfunc
from server.worker import flavors
for name in flavors.needed({str(path)!r}):
    importlib.import_module(name)
before = set(sys.modules)
mlflow.pyfunc.load_model({str(path)!r}, suppress_warnings=True)
print([name for name in set(sys.modules) - before if name.split(".")[0] in ("sklearn", "skops")])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
