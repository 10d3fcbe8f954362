"""Boosted trees of three libraries: 100 of depth 6, of 20 numbers."""

from typing import Any

import numpy as np
from mlflow.models import infer_signature

from benchmarks.kinds.requests import Requests
from benchmarks.kinds.saving.data import SEED, classes, table
from benchmarks.kinds.saving.tables import of_frame

_COLUMNS = 20
_ROWS = 4000
_TREES = 100
_DEPTH = 6


def xgboost(path: str) -> Requests:
    """XGBoost's classifier."""
    import mlflow.xgboost
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=_TREES, max_depth=_DEPTH, random_state=SEED)
    return _save(mlflow.xgboost.save_model, model, path)


def lightgbm(path: str) -> Requests:
    """LightGBM's classifier."""
    import mlflow.lightgbm
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=_TREES, max_depth=_DEPTH, random_state=SEED, verbose=-1)
    return _save(mlflow.lightgbm.save_model, model, path)


def catboost(path: str) -> Requests:
    """CatBoost's classifier."""
    import mlflow.catboost
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=_TREES, depth=_DEPTH, random_seed=SEED, verbose=False, allow_writing_files=False
    )
    return _save(mlflow.catboost.save_model, model, path)


def _save(save: Any, model: Any, path: str) -> Requests:
    frame = table(_COLUMNS, _ROWS)
    model.fit(frame, classes(frame.to_numpy()))
    save(
        model,
        path,
        signature=infer_signature(frame, np.zeros(1, np.int64)),
        input_example=frame.head(1),
        pip_requirements=[],
    )
    return of_frame(frame)
