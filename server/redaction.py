"""Keeping credentials out of what people read."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from server.credentials import find_credentials, spellings
from server.secret_patterns import HIDDEN, hide_secrets

# Shorter ones may be words: they are hidden only where a URL has a credential or a value.
_SHORTEST_LITERAL = 8

_URL = re.compile(r"://\S+")


class _Known:
    """The credentials that are known.

    Attributes:
        literals: What is replaced wherever it stands; the longest first, as one may hold another.
        in_urls: Finds those that are replaced in URLs only; None if there are none.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(filter(None, secrets))
        long = {s for s in self.secrets if len(s) >= _SHORTEST_LITERAL}
        written = {text for secret in long for text in spellings(secret)}
        self.literals = sorted(written, key=len, reverse=True)
        short = {re.escape(t) for secret in self.secrets - long for t in spellings(secret)}
        either = "|".join(sorted(short, key=len, reverse=True))
        pattern = rf"(?<=[:/])(?:{either})(?=@)|(?<==)(?:{either})(?=[&;\"'<>)]|$)"
        self.in_urls = re.compile(pattern) if short else None


# By where they come from.
_sources: dict[str, frozenset[str]] = {}
_known = _Known()


def hide_credentials(environment: Mapping[str, str]) -> None:
    """From now on, hide the credentials in these environment variables."""
    _learn("environment", find_credentials(environment))


def hide_token(token: str, name: str) -> None:
    """From now on, hide this token, which was read from a file, instead of the one before of that
    name."""
    _learn(name, [token])


def redact(text: str) -> str:
    """The text with what lets somebody in replaced by `***`: the credentials that this server was
    given, however they are written, and what looks like one."""
    for literal in _known.literals:
        if literal in text:
            text = text.replace(literal, HIDDEN)
    if _known.in_urls is not None and "://" in text:
        in_urls = _known.in_urls
        text = _URL.sub(lambda url: in_urls.sub(HIDDEN, url[0]), text)
    return hide_secrets(text)


def redact_value(value: Any) -> Any:
    """The same for the texts in a value that JSON holds; other objects are left as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(item) for item in value]
    return value


def redact_json(body: bytes) -> bytes:
    """The same for the texts in a JSON document; what is none is taken for one text."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return redact(body.decode(errors="backslashreplace")).encode(errors="backslashreplace")
    shown = redact_value(value)
    return body if shown == value else orjson.dumps(shown)


def _learn(source: str, secrets: Iterable[str]) -> None:
    global _known
    found = frozenset(secrets)
    if found != _sources.get(source):
        _sources[source] = found
        _known = _Known(secret for secrets in _sources.values() for secret in secrets)
