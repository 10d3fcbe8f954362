"""Models of tables: scikit-learn's, and functions of dates and arrays."""

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.kinds.requests import ROWS, Requests
from benchmarks.kinds.saving.data import CODE, SEED, classes, numbers, table

_TRAINED = 4000
_MISSING_SHARE = 0.1
_FORMAT = "cloudpickle"
"""What loads whatever a pipeline holds; `skops` has to be told of some parts by name."""


def forest(path: str) -> Requests:
    """A forest of 100 trees, of 10 numbers."""
    frame = table(10, _TRAINED)
    model = RandomForestClassifier(100, max_depth=12, random_state=SEED)
    model.fit(frame, classes(frame.to_numpy()))
    _save(model, path, frame)
    return of_frame(frame)


def missing(path: str) -> Requests:
    """Boosted trees of 20 numbers, of which one in ten is missing."""
    frame = table(20, _TRAINED)
    frame = frame.mask(np.random.default_rng(SEED).random(frame.shape) < _MISSING_SHARE)
    model = HistGradientBoostingClassifier(max_iter=50, random_state=SEED)
    model.fit(frame, classes(frame.to_numpy()))
    _save(model, path, frame)
    return of_frame(frame)


def unsigned(path: str) -> Requests:
    """A pipeline that was saved without a signature and without an example."""
    frame = table(10, _TRAINED)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(frame, classes(frame.to_numpy()))
    mlflow.sklearn.save_model(model, path, serialization_format=_FORMAT, pip_requirements=[])
    return of_frame(frame)


def dates(path: str) -> Requests:
    """A function of a date and a number."""
    days = np.random.default_rng(SEED).integers(0, 3650, ROWS)
    moments = pd.Timestamp("2020-01-01") + pd.to_timedelta(days, unit="D")
    frame = pd.DataFrame({"when": moments, "amount": numbers(1)[:, 0]})
    output = np.zeros(1)
    mlflow.pyfunc.save_model(
        path,
        python_model=str(CODE / "season.py"),
        signature=infer_signature(frame, output),
        input_example=frame.head(1),
        pip_requirements=[],
    )
    return of_frame(frame.assign(when=frame["when"].dt.strftime("%Y-%m-%dT%H:%M:%S")))


def arrays(path: str) -> Requests:
    """A function of an array of 32 numbers."""
    frame = pd.DataFrame({"vector": list(numbers(32))})
    mlflow.pyfunc.save_model(
        path,
        python_model=str(CODE / "projection.py"),
        signature=infer_signature(frame, np.zeros(1)),
        input_example=frame.head(1),
        pip_requirements=[],
    )
    return of_frame(pd.DataFrame({"vector": numbers(32).tolist()}))


def of_frame(frame: pd.DataFrame) -> Requests:
    """Requests for a frame's first rows; what is missing is null."""
    rows = frame.head(ROWS).astype(object).where(frame.head(ROWS).notna(), None)
    return Requests("dataframe_split", rows.to_numpy().tolist(), list(frame.columns))


def _save(model: object, path: str, frame: pd.DataFrame) -> None:
    mlflow.sklearn.save_model(
        model,
        path,
        serialization_format=_FORMAT,
        signature=infer_signature(frame, np.zeros(1, np.int64)),
        input_example=frame.head(1),
        pip_requirements=[],
    )
