"""Imported once by the fork server, so that every worker finds it done.

Nothing here may start a thread: a process with several can't be forked safely.
"""

import gc
import importlib
import logging
import os

import mlflow.artifacts
import mlflow.pyfunc
import pandas as pd

import server.worker.main

# Read as text: this package imports nothing of the gateway, which sets it.
_MODULES = os.environ.pop("_MODEL_SERVER_PRELOAD", "")

# The parts of scikit-learn that most pipelines are made of; each model imports the rest itself.
_SKLEARN = (
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
)

for name in filter(None, _MODULES.split(",")):
    try:
        for module in _SKLEARN if name == "sklearn" else (name,):
            importlib.import_module(module)
    except Exception as error:
        logging.getLogger(__name__).warning("can't preload %s: %s", name, error)

# The first frame made and the first JSON parsed initialise much lazily.
pd.DataFrame({"a": ["b"]}).to_dict(orient="records")

__all__ = ["mlflow", "server"]

# What is imported stays: without this, the first collection in each worker would touch, and so
# copy, every page that it shares with the fork server.
gc.collect()
gc.freeze()
