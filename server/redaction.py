"""Keeping credentials out of what people read."""

import re

# The user information of a URL (RFC 3986, section 3.2.1): a token, or a user and a password.
_USER_INFORMATION = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")

# What signs a URL of an object store, or lets its bearer in.
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&])((?:x-(?:amz|goog)-)?(?:signature|security-token|credential)|sig|token|access_token)"
    r"=[^&\s\"'<>]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text with what lets somebody in replaced by `***`: the user information of each URL, and
    signatures and tokens in its query."""
    if "://" not in text:
        return text
    return _SECRET_PARAMETER.sub(r"\1=***", _USER_INFORMATION.sub("***@", text))
