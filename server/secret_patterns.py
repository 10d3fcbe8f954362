"""What looks like a credential in a text, whoever's it is: the user information of URLs, and what
stands behind names such as `password=`.

All of it takes time in proportion to the text, which may be anybody's: no part of a pattern gives
back what it has taken (`*+`), and none begins at more places than it is bounded for.
"""

import re
from collections.abc import Iterator

HIDDEN = "***"

_SCHEME_END = re.compile(r"(:\\?/\\?/)")

# The user information of a URL, from behind `://` on. RFC 3986, section 3.2.1, has neither slashes
# nor quotes in it, but SQLAlchemy and many a client take them in a password. `HOST:PORT/` is none;
# databases' URLs are read as SQLAlchemy reads them, up to the last at sign.
_MORE = r"@(?:[^\s@\"'<>]*+@)*+"
_USER = r"(?!\[)[^\s/?#:@\"'<>]*+"
_USER_ALONE = r"(?!\[)[^\s/?#:@\"'<>]++@(?:[^\s@\"'<>/?#]*+@)*+"
_USER_INFORMATION = re.compile(rf"{_USER_ALONE}|{_USER}:[^\s@]*+{_MORE}")
_USER_INFORMATION_HTTP = re.compile(
    rf"{_USER_ALONE}|{_USER}:(?!\d{{1,5}}(?:[/?#\"'<>,;)\]}}\s]|$))[^\s@]*+{_MORE}"
)

# Names of what is secret wherever it is set, and of what is in a URL's query only.
_STRONG = (
    r"(?:password|passwd|passphrase|pwd|secret"
    r"|(?:api|access|account|private|shared|master|encryption)[_-]?key)[\w-]{0,32}+"
)
_PREFIXED = rf"[\w.-]{{0,64}}?{_STRONG}"
_WEAK = (
    r"(?:[\w-]{0,64}?token|x-(?:amz|goog)-(?:signature|security-token|credential)"
    r"|sig|signature|credential|key|auth|jwt)"
)
# A quote within a value is one of its characters; at its end, it is not.
_VALUE = r"(?:[^&\s\"'<>]|[\"'](?=\w))++"
_PLAIN_VALUE = r"(?:[^&;,\s\"'<>]|[,\"'](?=\w))++"
_QUOTED = r"'[^'\n]*+'|\"[^\"\n]*+\""
# ?password=…, &token=…
_IN_QUERY = rf"(?<=[?&])(?P<name>{_PREFIXED}|{_WEAK})(?P<is>=)(?P<value>{_VALUE})"
# The same, packed into another URL's query.
_PACKED = r"(?:(?!%26|%3B)[^&;\s\"'<>])++"
_IN_PACKED = rf"(?<=%3F|%26|%3B)(?P<name>{_PREFIXED}|{_WEAK})(?P<is>%3D)(?P<value>{_PACKED})"
# ;AccountKey=…, and host=… password=… (libpq), also in braces (ODBC) or quotes.
_SET = rf"{_QUOTED}|\{{[^{{}}\n]*+\}}|{_PLAIN_VALUE}"
_IN_SETTINGS = rf"(?P<name>{_STRONG})(?P<is>\s?=\s?)(?P<value>{_SET})"
# "password": "…"
_IN_JSON = rf"(?P<name>{_STRONG}\\?[\"'])(?P<is>\s?:\s?\\?)(?P<value>{_QUOTED})"
# Authorization: Bearer …
_BEFORE = r"\s?[:=]\s?[\"']?(?:\w{1,20}\s)?"
_IN_HEADER = rf"(?P<name>\bauthorization[\"']?)(?P<is>{_BEFORE})(?P<value>[^\s\"',;]{{8,}}+)"

# One of these is in each name.
_WORDS = ("pass", "pwd", "secret", "key", "token", "sig", "credential", "auth", "jwt")

# Each with what must be in a text for it to be worth a look.
_NAMED = [
    (mark, re.compile(pattern, re.IGNORECASE))
    for mark, pattern in (
        ("=", _IN_QUERY),
        ("%3d", _IN_PACKED),
        ("=", _IN_SETTINGS),
        (":", _IN_JSON),
        ("authorization", _IN_HEADER),
    )
]


def hide_secrets(text: str) -> str:
    """The text with what looks like a credential replaced by `HIDDEN`."""
    parts = _SCHEME_END.split(text)
    for index in range(2, len(parts), 2):
        if found := _user_information(parts, index):
            parts[index] = f"{HIDDEN}@{parts[index][found.end() :]}"
    text = "".join(parts)
    for pattern in _worth_a_look(text):
        text = pattern.sub(rf"\g<name>\g<is>{HIDDEN}", text)
    return text


def find_secrets(text: str) -> Iterator[str]:
    """What `hide_secrets` would replace: passwords, and users where there is no password."""
    parts = _SCHEME_END.split(text)
    for index in range(2, len(parts), 2):
        if found := _user_information(parts, index):
            user, _, password = found[0][:-1].partition(":")
            yield password or user
    for pattern in _worth_a_look(text):
        for found in pattern.finditer(text):
            value = found["value"]
            quoted = value[0] + value[-1] in ("''", '""', "{}")
            yield value[1:-1] if quoted else value


def _worth_a_look(text: str) -> list[re.Pattern[str]]:
    """The patterns that may find something: most texts name nothing secret, and to see that is a
    hundred times as fast."""
    lower = text.lower()
    if not any(word in lower for word in _WORDS):
        return []
    return [pattern for mark, pattern in _NAMED if mark in lower]


def _user_information(parts: list[str], index: int) -> re.Match[str] | None:
    """That of the URL whose scheme ends before this part."""
    http = parts[index - 2].lower().endswith(("http", "https"))
    return (_USER_INFORMATION_HTTP if http else _USER_INFORMATION).match(parts[index])
