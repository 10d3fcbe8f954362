"""What a request would take as a frame, told from its outline before pandas makes one.

A frame has a cell for each row in each column, whether the body holds a value for it or not: a few
kilobytes of rows that share no key, or of names beside an index, are billions of cells.
"""

from collections.abc import Collection
from itertools import chain
from typing import Any

from .errors import InvalidInput
from .tables import Layout

MOST_CELLS = 50_000_000

# Lists in the place of labels are levels of them, and pandas takes time for each.
MOST_LEVELS = 1000

# Without a signature; those of a signature come on top. pandas takes some time for each column, and
# more for each of those that share a name.
_MOST_COLUMNS = 10_000

# The densest body has a cell for every two bytes of it: these are for rows that lack values.
_CELLS_PER_BYTE = 4
_CELLS_ANYWAY = 2_000_000


class Budget:
    """How large a frame a request may become.

    Args:
        declared: The names of the signature's columns, empty if it has none.
    """

    def __init__(self, declared: Collection[Any] = ()) -> None:
        self.columns = _MOST_COLUMNS + len(declared)

    def cells(self, size: int) -> int:
        """Return the most cells in a frame made of a body of `size` bytes."""
        return min(MOST_CELLS, _CELLS_ANYWAY + _CELLS_PER_BYTE * size)

    def holds(self, rows: int, columns: int, size: int) -> bool:
        """Whether a body of `size` bytes may become a frame of this shape."""
        return columns <= self.columns and rows * columns <= self.cells(size)

    def refuse_beyond(self, rows: int, columns: int, size: int) -> None:
        """Refuse a body of `size` bytes that would become too large a frame.

        Raises:
            InvalidInput: it says which of the limits it is, and what to do.
        """
        if columns > self.columns:
            raise self.too_wide(columns)
        if rows * columns > (most := self.cells(size)):
            raise InvalidInput(
                f"{rows} rows with {columns} columns in all are {rows * columns} cells, and a body "
                f"of {size} bytes may have {most}: send fewer rows in a request, or the same "
                "columns in each"
            )

    def too_wide(self, columns: int | None = None) -> InvalidInput:
        """The refusal of a body with so many columns, or with too many to be counted."""
        count = f"{columns} columns are" if columns is not None else "its columns are"
        return InvalidInput(
            f"{count} more than the {self.columns} that this model takes in one request: send only "
            "those that it knows"
        )


def shape_of(table: Any) -> tuple[int, int]:
    """Return at least as many rows and columns as pandas makes of a JSON value.

    Rows may be objects or lists of any length, columns lists of any length, objects whose keys
    label the rows, or single values that stand in each row.
    """
    if isinstance(table, dict):
        lists = [len(column) for column in table.values() if isinstance(column, list)]
        labels = [column for column in table.values() if isinstance(column, dict)]
        return max(len({*chain.from_iterable(labels)}), max(lists, default=1), 1), len(table)
    if isinstance(table, list):
        lists = [len(row) for row in table if isinstance(row, list)]
        keys = {*chain.from_iterable(row for row in table if isinstance(row, dict))}
        return len(table), max(len(keys), max(lists, default=1), 1)
    return 1, 1


def shape_of_layout(table: Any, layout: Layout) -> tuple[int, int]:
    """Return the same for a table that has a layout, without a look at each row: they are alike."""
    if layout.orient == "values":
        # Only the first is known to be one.
        return shape_of(table)
    if layout.orient == "columns":
        return len(next(iter(table.values()))), len(table)
    return len(table), len(table[0])


def shape_of_split(payload: Any) -> tuple[int, int]:
    """Return the same for the value of `dataframe_split`, where names and index alone make rows and
    columns, too.

    Raises:
        InvalidInput: one of these has too many levels.
    """
    if not isinstance(payload, dict):
        return shape_of(payload)
    rows, columns = shape_of(payload.get("data"))
    labels = (_length(key, payload.get(key)) for key in ("index", "columns"))
    return max(rows, next(labels)), max(columns, next(labels))


def _length(key: str, labels: Any) -> int:
    if not isinstance(labels, list):
        return len(labels) if isinstance(labels, dict) else 0
    levels = [len(label) for label in labels if isinstance(label, list)]
    if len(levels) > MOST_LEVELS:
        raise InvalidInput(
            f"'{key}' of 'dataframe_split' has {len(levels)} lists, each of which is a level"
        )
    return max(len(labels), max(levels, default=0))


def only(names: Collection[Any], table: Any) -> Any:
    """Return a table of rows that are objects, or of columns, without other columns than these."""
    if isinstance(table, dict):
        return {name: column for name, column in table.items() if name in names}
    if isinstance(table, list):
        return [only(names, row) if isinstance(row, dict) else row for row in table]
    return table
