"""Tables of scalars in parsed JSON, in whichever of MLflow's formats they came."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

Kind = type | frozenset[type]
"""The type that all values of a column have, or the set of their types."""

SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})


_MOST_STACKED_ROWS = 1_000


class Layout(NamedTuple):
    """What a table looks like, without its values.

    Tables of equal layout, kinds included, stack without changing each other: numpy and pandas
    choose a column's dtype by the set of types in it, as long as its integers fit in 64 bits.

    Attributes:
        orient: "values" (a list of scalars), "rows" (a list of lists of the same length),
            "records" (a list of objects with the same keys) or "columns" (an object of lists of
            the same length).
        columns: The columns' names, `None` if they have none.
        kinds: The kind of each column; `None` if some values are not scalars, or if there are more
            rows than are worth stacking, and so looking at.
    """

    orient: str
    columns: tuple[str, ...] | None
    kinds: tuple[Kind, ...] | None


_ONE_VALUE = {kind: Layout("values", None, (kind,)) for kind in SCALARS}
"""For the commonest request of all, a single value."""


def layout_of(table: Any, columns: Any = None) -> Layout | None:
    """Return the layout of a parsed JSON value, or `None` if it isn't a table, or is empty.

    Args:
        table: The JSON value.
        columns: The JSON value that names the columns of a list of rows.
    """
    if not table:
        return None
    if type(table) is dict:
        return _layout_of_columns(table) if columns is None else None
    if type(table) is not list:
        return None
    if type(table[0]) is list:
        return _layout_of_rows(table, columns)
    if columns is not None:
        return None
    if type(table[0]) is dict:
        return _layout_of_records(table)
    if len(table) == 1:
        return _ONE_VALUE.get(type(table[0]))
    return Layout("values", None, _kinds_of_columns([table]))


def columns_of(table: Any, orient: str) -> Iterable[Sequence[Any]]:
    """Return the values of each column of a table that has a layout, in the layout's order."""
    if orient == "rows":
        return zip(*table, strict=True)
    if orient == "records":
        return zip(*map(dict.values, table), strict=True)
    return table.values() if orient == "columns" else [table]


def stack(tables: Sequence[Any], orient: str) -> Any:
    """Return one table with the rows of several of the same layout, in order."""
    if orient == "columns":
        return {
            name: list(chain.from_iterable(table[name] for table in tables)) for name in tables[0]
        }
    return list(chain.from_iterable(tables))


def _layout_of_columns(table: dict[str, Any]) -> Layout | None:
    columns = table.values()
    if {*map(type, columns)} != {list} or len({*map(len, columns)}) != 1:
        return None
    return Layout("columns", tuple(table), _kinds_of_columns([*columns]))


def _layout_of_rows(table: list[Any], names: Any) -> Layout | None:
    width = len(table[0])
    if not width or {*map(type, table)} != {list} or {*map(len, table)} != {width}:
        return None
    if names is not None:
        # Only strings: 1, 1.0 and true are equal in Python, but name columns of different types.
        if type(names) is not list or len(names) != width or {*map(type, names)} != {str}:
            return None
        names = tuple(names)
    return Layout("rows", names, _kinds_of_rows(table))


def _layout_of_records(table: list[Any]) -> Layout | None:
    names = tuple(table[0])
    if not names or {*map(type, table)} != {dict} or {*map(tuple, table)} != {names}:
        return None
    small = len(table) <= _MOST_STACKED_ROWS
    kinds = _kinds_of_rows([[*record.values()] for record in table]) if small else None
    return Layout("records", names, kinds)


def _kinds_of_rows(rows: list[list[Any]]) -> tuple[Kind, ...] | None:
    if len(rows) == 1:
        types = (*map(type, rows[0]),)
        return types if SCALARS.issuperset(types) else None
    if len(rows) > _MOST_STACKED_ROWS:
        return None
    return _kinds_of_columns([*zip(*rows, strict=True)])


def _kinds_of_columns(columns: Sequence[Sequence[Any]]) -> tuple[Kind, ...] | None:
    if not 0 < len(columns[0]) <= _MOST_STACKED_ROWS:
        return None
    kinds = (*(kind for kind in map(kind_of, columns) if kind is not None),)
    return kinds if len(kinds) == len(columns) else None


def kind_of(values: Iterable[Any]) -> Kind | None:
    """Return the kind of a column, `None` if it is empty or holds other things than scalars."""
    types = frozenset(map(type, values))
    if len(types) == 1:
        (only,) = types
        return only if only in SCALARS else None
    return types if types and types <= SCALARS else None
