"""JSON that the gateway, whose parser is a strict one, reads."""

import json
from typing import Any


def dumps(value: Any) -> bytes:
    """Write a value; NaN and infinities become null, and lone surrogates question marks.

    Raises:
        TypeError, ValueError, RecursionError: the value has no form in JSON.
    """
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return json.dumps(finite, ensure_ascii=False).encode(errors="replace")
