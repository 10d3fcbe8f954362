"""MLflow's validation of input by a type hint, a whole list at a time.

MLflow looks at each value by itself, in several calls and with an exception caught
(mlflow/types/type_hints.py, `_validate_data_against_type_hint`). Where all values of a list are
plainly what the hint says, what it would return is made here; it is asked in all other cases, to
convert or to refuse.
"""

import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeAlias, Union, get_args, get_origin

import pydantic
from mlflow.pyfunc.utils import data_validation
from mlflow.types.type_hints import _validate_data_against_type_hint, model_validate

_Convert: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]
"""Converts values that stand in the same place; raises anything if MLflow has to do it."""

# MLflow converts some of the other types, and doesn't know the rest.
_AS_THEY_ARE = frozenset({str, int, float, bool})
_UNIONS = (Union, types.UnionType)
_UNION_WITH_NONE = 2


class _Unsure(Exception):
    """A value is not plainly what its type hint says."""


def quicken() -> None:
    """Have the wrapper that MLflow puts around a model's `predict` validate input with `validate`.
    It may be called again."""
    data_validation._validate_data_against_type_hint = validate  # type: ignore[attr-defined]


def validate(data: Any, type_hint: Any) -> Any:
    """Return what MLflow makes of a model's input for a type hint.

    Raises:
        Exception: what MLflow raises if it doesn't fit.
    """
    values = _converted(data, type_hint)
    return _validate_data_against_type_hint(data, type_hint) if values is None else values[0]


def _converted(data: Any, type_hint: Any) -> Sequence[Any] | None:
    try:
        convert = _converter(type_hint)
        return None if convert is None else convert([data])
    except Exception:
        # MLflow raises it again, in its own words.
        return None


@lru_cache
def _converter(hint: Any) -> _Convert | None:
    """Return what converts values of a type hint, `None` if it is none of those known here."""
    if hint is Any:
        return _as_they_are
    if hint in _AS_THEY_ARE:
        return _Only(hint)
    if isinstance(hint, type) and get_origin(hint) is None:
        return _Models(hint) if issubclass(hint, pydantic.BaseModel) else None
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in _UNIONS:
        return _converter_of_union(arguments)
    inner = _converter(arguments[-1]) if origin in (list, dict) else None
    if inner is None:
        return None
    return _Lists(inner) if origin is list else _Dicts(inner)


def _converter_of_union(arguments: tuple[Any, ...]) -> _Convert | None:
    if type(None) not in arguments or len(arguments) != _UNION_WITH_NONE:
        # MLflow takes all others as `Any`.
        return _as_they_are
    (other,) = (argument for argument in arguments if argument is not type(None))
    inner = _converter(other)
    return None if inner is None else _Optional(inner)


def _as_they_are(values: Sequence[Any]) -> Sequence[Any]:
    return values


class _Only:
    """Takes values of one type, and not of its subclasses."""

    def __init__(self, type_: type) -> None:
        self._types = {type_}

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        if not self._types.issuperset(map(type, values)):
            raise _Unsure
        return values


class _Optional:
    """Takes nulls besides others."""

    def __init__(self, inner: _Convert) -> None:
        self._inner = inner

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        converted = iter(self._inner([value for value in values if value is not None]))
        return [None if value is None else next(converted) for value in values]


class _Lists:
    """Makes new lists, as MLflow does."""

    def __init__(self, inner: _Convert) -> None:
        self._only = _Only(list)
        self._inner = inner

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        items = iter(self._inner([*chain.from_iterable(self._only(values))]))
        return [[*islice(items, len(value))] for value in values]


class _Dicts:
    """Makes new dictionaries, as MLflow does; of their keys it looks at no more than their type."""

    def __init__(self, inner: _Convert) -> None:
        self._only = _Only(dict)
        self._keys = _Only(str)
        self._inner = inner

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        self._keys([*chain.from_iterable(self._only(values))])
        items = iter(self._inner([*chain.from_iterable(map(dict.values, values))]))
        # A dictionary may be empty: its keys come first, so that none of the items is lost.
        return [dict(zip(value, items, strict=False)) for value in values]


class _Models:
    """Makes pydantic models."""

    def __init__(self, model: Any) -> None:
        self._only = _Only(dict)
        self._model = model

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        made = []
        for value in self._only(values):
            # The one is strict, the other is not.
            model_validate(self._model, value)
            made.append(self._model(**value))
        return made
