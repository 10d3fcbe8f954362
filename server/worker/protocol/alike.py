"""Whether two requests become the same input for the model."""

from typing import Any

import numpy as np
import pandas as pd


def alike(left: Any, right: Any) -> bool:
    """Tell whether a model can't tell two inputs apart; some that it can't count as different.

    Args:
        left: A frame, an array or a list of what JSON holds; anything else is different.
        right: The same.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, pd.DataFrame):
        return left.dtypes.equals(right.dtypes) and left.equals(right)
    if isinstance(left, np.ndarray):
        return bool(left.dtype == right.dtype and np.array_equal(left, right))
    # Equal values of different types, such as 1, 1.0 and true, are written differently.
    return isinstance(left, list) and repr(left) == repr(right)
