"""Tables in parsed JSON, in whichever of MLflow's formats they came."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

SCALARS: frozenset[type] = frozenset({str, int, float, bool, type(None)})

# What lists and objects are where each is the value of one cell, whatever it holds.
_CELLS = SCALARS | {list, dict}

# Beyond it, floats do not hold every integer.
_LARGEST_EXACT = 2**53


class LargeInteger:
    """Stands for the type of integers that no float may hold."""


class ArrayKind(NamedTuple):
    """The kind of a column of arrays.

    Attributes:
        shape: That of each.
        items: The kind of what they hold.
    """

    shape: tuple[int, ...]
    items: type | frozenset[type]


_NUMBERS = frozenset({int, float, LargeInteger})

Kind = type | frozenset[type] | ArrayKind
"""The type that all values of a column have, the set of their types, or what arrays they are."""


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


def kinds_of(table: Any, orient: str, *, cells: bool = False) -> tuple[Kind, ...] | None:
    """Return the kind of each column, `None` if one has none: see `kind_of`.

    Tables of the same layout and kinds stack without changing each other: numpy and pandas choose
    a column's dtype by the set of types in it, as long as its integers fit in 64 bits.

    Args:
        cells: Whether lists and objects stay what they are, each by itself, rather than become one
            array with those of other rows.
    """
    if len(table) == 1 and orient != "columns":
        # A single row, the commonest table of all: its types are the kinds.
        (row,) = table
        values = row if orient == "rows" else row.values() if orient == "records" else table
        types = (*map(type, values),)
        if SCALARS.issuperset(types):
            return _with_large(types, values) if int in types else types
    kinds = [kind_of(column, cells=cells) for column in columns_of(table, orient)]
    found = (*(kind for kind in kinds if kind is not None),)
    return found if len(found) == len(kinds) else None


def kind_of_block(rows: Sequence[Sequence[Any]]) -> Kind | None:
    """Return the kind of rows, each a list, that become one array; `None` if they do not."""
    items = kind_of([*chain.from_iterable(rows)])
    if isinstance(items, ArrayKind):
        return ArrayKind((len(rows[0]), *items.shape), items.items)
    return None if items is None else ArrayKind((len(rows[0]),), items)


def of_arrays(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Return kinds of columns as those of arrays, which have one type for all that they hold."""
    return (*(kind if isinstance(kind, ArrayKind) else ArrayKind((), kind) for kind in kinds),)


def of_numbers(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Return kinds of arrays that become arrays of a type of numbers, number by number: whole ones
    of any size are no others then."""
    return (
        *(
            kind._replace(items=float)
            if isinstance(kind, ArrayKind) and _NUMBERS.issuperset(_set(kind.items))
            else kind
            for kind in kinds
        ),
    )


def _set(items: type | frozenset[type]) -> frozenset[type]:
    return items if isinstance(items, frozenset) else frozenset({items})


def kind_of(values: Sequence[Any], *, cells: bool = False) -> Kind | None:
    """Return the kind of a column: of scalars, or of arrays of one shape. `None` if it is empty or
    holds other things.

    Args:
        cells: As for `kinds_of`.
    """
    types = frozenset(map(type, values))
    if list in types and not cells:
        return _kind_of_arrays(values)
    if not types or not types <= (_CELLS if cells else SCALARS):
        return None
    if int in types and not _are_exact(types, values):
        types = types - {int} | {LargeInteger}
    if len(types) == 1:
        (only,) = types
        return only
    return types


def _with_large(types: tuple[type, ...], values: Iterable[Any]) -> tuple[type, ...]:
    if all(map(_is_exact, values)):
        return types
    pairs = zip(types, values, strict=True)
    return (*(type_ if _is_exact(value) else LargeInteger for type_, value in pairs),)


def _are_exact(types: frozenset[type], values: Sequence[Any]) -> bool:
    if len(types) == 1:
        return _is_exact(min(values)) and _is_exact(max(values))
    return all(map(_is_exact, values))


def _is_exact(value: Any) -> bool:
    return type(value) is not int or -_LARGEST_EXACT <= value <= _LARGEST_EXACT


def _kind_of_arrays(arrays: Sequence[Any]) -> ArrayKind | None:
    shape: list[int] = []
    level = arrays
    while level and type(level[0]) is list:
        lengths = {*map(len, level)} if {*map(type, level)} == {list} else set()
        if len(lengths) != 1:
            return None
        shape += lengths
        level = [*chain.from_iterable(level)]
    items = kind_of(level) if list not in {*map(type, level)} else None
    return ArrayKind((*shape,), items) if isinstance(items, type | frozenset) else None


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
