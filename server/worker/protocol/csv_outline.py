"""How wide a CSV body is, before pandas reads it.

pandas takes a tenth of a millisecond for each column, compares each name that stands there twice
with all others, and makes a level of an index of each value that the first row has beyond the
names.
"""

import re

from .costs import MOST_LEVELS, Budget
from .errors import InvalidInput

# Up to here names may repeat: pandas is through with them in less than a tenth of a second.
_MOST_REPEATED = 2000
# Where these may be levels: pandas sorts them by a hash for which many numbers can be alike.
_SMALL_BODY = 100_000

# As pandas reads them: quotes within a field stand for themselves, and blank lines are skipped.
_BLANK = re.compile(r"\ufeff?(?:[ \t]*+[\r\n])*+")
_FIELD = re.compile(r'((?:"(?:[^"]++|"")*+"?)?[^,\r\n]*+)(,?)')


def most_rows(text: str, size: int, budget: Budget) -> int | None:
    """Return how many rows a CSV body may have, `None` if it has no more than that anyway.

    Args:
        text: The body.
        size: Its length in bytes.
        budget: How large a frame it may become.

    Raises:
        InvalidInput: it has too many columns.
    """
    # A line for each row at least, and a comma between two columns.
    lines, width = text.count("\n") + text.count("\r") + 1, text.count(",") + 1
    if size <= _SMALL_BODY and width <= _MOST_REPEATED and budget.holds(lines, width, size):
        return None
    width = _width(text, size, budget)
    return None if budget.holds(lines, width, size) else budget.cells(size) // width


def _width(text: str, size: int, budget: Budget) -> int:
    names, end = _fields(text, 0, budget.columns)
    first, _ = _fields(text, end, budget.columns)
    if max(len(names), len(first)) > budget.columns:
        raise budget.too_wide()
    if len(names) > _MOST_REPEATED and len({name.replace('"', "") for name in names}) < len(names):
        raise InvalidInput(
            f"of {len(names)} columns some have the same name, or none: give each a name of its own"
        )
    if len(first) - len(names) > (MOST_LEVELS if size <= _SMALL_BODY else 1):
        raise InvalidInput(f"the first row has {len(first)} values for {len(names)} columns")
    return max(len(names), len(first))


def _fields(text: str, start: int, most: int) -> tuple[list[str], int]:
    """Return the fields of the first line from `start` on that isn't blank, and where it ends.

    They are as they stand there, with their quotes; of more than `most` one more is returned.
    """
    fields: list[str] = []
    place = _end(_BLANK.match(text, start), start)
    while len(fields) <= most:
        found = _FIELD.match(text, place)
        place = _end(found, place)
        fields.append(found[1] if found else "")
        if not found or not found[2]:
            break
    return fields, place


def _end(found: "re.Match[str] | None", otherwise: int) -> int:
    return found.end() if found else otherwise
