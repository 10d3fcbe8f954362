"""Tables in parsed JSON, in whichever of MLflow's formats they came."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})

Kind = type | frozenset[type]
"""The type that all values of a column have, or the set of their types."""


class Layout(NamedTuple):
    """How a table is laid out.

    Attributes:
        orient: "values" (a list of scalars), "rows" (a list of lists of the same length),
            "records" (a list of objects with the same keys) or "columns" (an object of lists of
            the same length).
        columns: The columns' names, `None` if they have none.
    """

    orient: str
    columns: tuple[str, ...] | None


_VALUES = Layout("values", None)


def layout_of(table: Any, columns: Any = None) -> Layout | None:
    """Return the layout of a parsed JSON value, or `None` if it isn't a table, or is empty.

    Only the table's outline is looked at: its values may be anything.

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
    return _layout_of_records(table) if type(table[0]) is dict else _VALUES


def columns_of(table: Any, orient: str) -> Iterable[Sequence[Any]]:
    """Return the values of each column of a table that has a layout, in the layout's order."""
    if orient == "rows":
        return zip(*table, strict=True)
    if orient == "records":
        return zip(*map(dict.values, table), strict=True)
    return table.values() if orient == "columns" else [table]


def kinds_of(table: Any, orient: str) -> tuple[Kind, ...] | None:
    """Return the kind of each column, `None` if not all values are scalars.

    Tables of the same layout and kinds stack without changing each other: numpy and pandas choose
    a column's dtype by the set of types in it, as long as its integers fit in 64 bits.
    """
    if len(table) == 1 and orient != "columns":
        # A single row, the commonest table of all: its types are the kinds.
        (row,) = table
        values = row if orient == "rows" else row.values() if orient == "records" else table
        types = (*map(type, values),)
        return types if SCALARS.issuperset(types) else None
    kinds = [*map(kind_of, columns_of(table, orient))]
    found = (*(kind for kind in kinds if kind is not None),)
    return found if len(found) == len(kinds) else None


def kind_of(values: Iterable[Any]) -> Kind | None:
    """Return the kind of a column, `None` if it is empty or holds other things than scalars."""
    types = frozenset(map(type, values))
    if len(types) == 1:
        (only,) = types
        return only if only in SCALARS else None
    return types if types and types <= SCALARS else None


def stack(tables: Sequence[Any], orient: str) -> Any:
    """Return one table with the rows of several of the same layout, in order."""
    if orient == "columns":
        return {
            name: list(chain.from_iterable(table[name] for table in tables)) for name in tables[0]
        }
    return list(chain.from_iterable(tables))


def _layout_of_columns(table: dict[str, Any]) -> Layout | None:
    columns = table.values()
    if {*map(type, columns)} != {list}:
        return None
    lengths = {*map(len, columns)}
    if len(lengths) != 1 or 0 in lengths:
        return None
    return Layout("columns", tuple(table))


def _layout_of_rows(table: list[Any], names: Any) -> Layout | None:
    width = len(table[0])
    if not width or {*map(type, table)} != {list} or {*map(len, table)} != {width}:
        return None
    if names is None:
        return Layout("rows", None)
    # Only strings: 1, 1.0 and true are equal in Python, but name columns of different types.
    if type(names) is not list or len(names) != width or {*map(type, names)} != {str}:
        return None
    return Layout("rows", tuple(names))


def _layout_of_records(table: list[Any]) -> Layout | None:
    names = tuple(table[0])
    if not names or {*map(type, table)} != {dict} or {*map(tuple, table)} != {names}:
        return None
    return Layout("records", names)
