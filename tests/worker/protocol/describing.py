"""All that a model can see of a value, in words that JSON carries from one process to another."""

from typing import Any

import numpy as np
import pandas as pd


def description(value: Any) -> Any:
    """Describe a model's input as strings, lists and dictionaries with names for keys.

    Values have equal descriptions if they are alike in their types, dtypes, names and every digit,
    and arrays and frames in the order in which they lie in memory, too: that decides the order in
    which a model's arithmetic adds up.
    """
    if isinstance(value, pd.DataFrame):
        return {
            "type": type(value).__name__,
            "columns": _labels(value.columns),
            "index": [type(value.index).__name__, *_labels(value.index)],
            "dtypes": [*map(str, value.dtypes)],
            "cells": [description(column.tolist()) for _, column in value.items()],
            "memory": _memory(value.to_numpy()),
        }
    if isinstance(value, pd.Series):
        return {
            "type": type(value).__name__,
            "name": repr(value.name),
            "index": [type(value.index).__name__, *_labels(value.index)],
            "dtype": str(value.dtype),
            "cells": description(value.tolist()),
        }
    if isinstance(value, np.ndarray):
        return {
            "type": type(value).__name__,
            "dtype": str(value.dtype),
            "shape": [*value.shape],
            "cells": description(value.tolist()),
            "memory": _memory(value),
        }
    if isinstance(value, dict):
        return {"items": [[repr(key), description(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [description(item) for item in value]
    if isinstance(value, bytes):
        # MLflow makes a single binary value a numpy scalar, which is a kind of bytes.
        value = bytes(value)
    return f"{type(value).__name__} {value!r}"


def _labels(index: Any) -> list[str]:
    return [str(index.dtype), repr(index.name), *map(repr, index)]


def _memory(array: Any) -> dict[str, Any]:
    flags = array.flags
    return {
        "writeable": flags.writeable,
        "contiguous": [flags.c_contiguous, flags.f_contiguous],
        # Those of a single row or column mean nothing.
        "strides": [] if 1 in array.shape else [*array.strides],
    }
