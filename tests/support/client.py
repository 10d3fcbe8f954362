"""Asking a server that is known by its address only."""

import json
import urllib.request
from http.client import HTTPMessage
from typing import Any


def get_json(url: str) -> Any:
    """The JSON that GET brings."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def post_json(url: str, body: Any = None) -> tuple[Any, HTTPMessage]:
    """Post JSON and return the JSON that comes back, and the headers."""
    request = urllib.request.Request(  # noqa: S310
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer), answer.headers
