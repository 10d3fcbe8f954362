"""The arrays that MLflow would make of what `instances` and `inputs` hold, made in one pass."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow.types import Schema
from mlflow.types.schema import TensorSpec

from .errors import InvalidInput, describe
from .parsing import INSTANCES

# The numpy kinds of booleans, integers, floats and texts. Arrays of these have nothing in common
# with the payload that they are made of; those of objects do.
_KINDS = frozenset("biufU")
_TEXT = "U"


class TensorBuilder:
    """Builds what `parse_tf_serving_input` does (mlflow/utils/proto_json_utils.py), which first
    copies each number as an object of its own.

    Args:
        tensors: Those of the signature by name; the key is `None` for one that has no name. `None`
            if the model has no signature: then numpy finds the types.

    Attributes:
        has_text: Whether an array may be one of texts.
    """

    def __init__(self, tensors: Mapping[str | None, TensorSpec] | None) -> None:
        self._tensors = tensors
        self.has_text = tensors is None or any(
            tensor.type.kind == _TEXT for tensor in tensors.values()
        )

    @classmethod
    def of(cls, schema: Schema | None) -> "TensorBuilder | None":
        """Return the builder for a signature, `None` if MLflow has to build some of its arrays."""
        if schema is None:
            return cls(None)
        specs: list[Any] = schema.inputs
        if not all(isinstance(spec, TensorSpec) and spec.type.kind in _KINDS for spec in specs):
            return None
        return cls({spec.name: spec for spec in specs})

    def build(self, format_: str, payload: Any) -> Any | None:
        """Return an array, or one for each name; `None` where MLflow's way is needed, to convert
        or to refuse.

        Raises:
            InvalidInput: a value has no place in an array of the signature's type.
        """
        if self._tensors is None:
            return _undeclared(format_, payload)
        if None in self._tensors:
            return self._array(None, payload) if _is_list(payload) else None
        values = self._by_name(self._tensors, format_, payload)
        if values is None or values.keys() != self._tensors.keys():
            return None
        return _fitting(format_, {name: self._array(name, values[name]) for name in values})

    def _by_name(
        self, tensors: Mapping[str | None, TensorSpec], format_: str, payload: Any
    ) -> dict[Any, Any] | None:
        if type(payload) is dict:
            return payload
        if _is_list(payload):
            # All of it is the one tensor that there is.
            return dict.fromkeys(tensors, payload) if len(tensors) == 1 else None
        if format_ != INSTANCES or type(payload) is not list or {*map(type, payload)} != {dict}:
            return None
        if {*map(frozenset, payload)} != {frozenset(tensors)}:
            return None
        return {name: [row[name] for row in payload] for name in tensors}

    def _array(self, name: str | None, value: Any) -> Any:
        assert self._tensors is not None
        tensor = self._tensors[name]
        try:
            return np.array(value, dtype=tensor.type)
        except (OverflowError, TypeError, ValueError) as error:
            raise InvalidInput(f"input should be {tensor}: {describe(error)}") from error


def _undeclared(format_: str, payload: Any) -> Any | None:
    """Return the arrays of a payload that no signature tells anything of."""
    named = type(payload) is dict
    if not payload or not (named or _is_list(payload)):
        return None
    values = payload if named else {None: payload}
    try:
        arrays = {name: np.array(value) for name, value in values.items()}
    except (OverflowError, TypeError, ValueError):
        return None
    if any(array.dtype.kind not in _KINDS for array in arrays.values()):
        return None
    return _fitting(format_, arrays) if named else arrays[None]


def _fitting(format_: str, arrays: dict[Any, Any]) -> dict[Any, Any] | None:
    """Return the arrays, unless they would be rows of `instances`, which have a part in each, and
    are of different lengths, or none."""
    lengths = {array.shape[:1] for array in arrays.values()}
    return None if format_ == INSTANCES and (len(lengths) != 1 or () in lengths) else arrays


def _is_list(payload: Any) -> bool:
    """Tell whether a payload is a list of anything but objects, which would be rows with names."""
    return type(payload) is list and bool(payload) and dict not in {*map(type, payload)}
