"""The credentials that the server itself was given, and how they may be written."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from server.secret_patterns import find_secrets

# Variables whose values are secrets. PWD itself is the shell's.
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN$|KEY$|KEY_ID$|_PWD$|_PASS$", re.IGNORECASE
)

# What different clients leave as it is when they write a password into a URL: nothing, as browsers
# do; slashes (urllib); what RFC 3986, section 2.2, calls sub-delims (urllib3); SQLAlchemy's choice.
_SAFE = ("", "/", "!$&'()*+,;=:", " +")


def find_credentials(environment: Mapping[str, str]) -> Iterator[str]:
    """The secrets in environment variables: values of those that are named for one, and what the
    URLs and connection strings in all others hold."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and not _is_path(value):
            yield value.strip()
        for secret in find_secrets(value):
            yield from (secret, unquote(secret))


def _is_path(value: str) -> bool:
    """Whether it says where a secret is."""
    return value.startswith(("/", ".")) and "\0" not in value and Path(value).exists()


def spellings(secret: str) -> set[str]:
    """The ways in which a secret may stand in a text: as it is, percent-encoded, and each of these
    as JSON and Python write it."""
    encoded = {quote(secret, safe, errors="surrogateescape") for safe in _SAFE}
    encoded.add(quote_plus(secret, errors="surrogateescape"))
    encoded |= {re.sub("%..", lambda found: found[0].lower(), text) for text in encoded}
    return {
        written
        for text in (secret, *encoded)
        for written in (
            text,
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            repr(text)[1:-1],
        )
    }
