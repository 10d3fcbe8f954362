"""Keeping credentials out of what people read."""

import re

# The user information of a URL (RFC 3986, section 3.2.1), where it has a password.
_USER_INFORMATION = re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']*@")


def redact(text: str) -> str:
    """The text with the user and password of each URL replaced by `***`."""
    return _USER_INFORMATION.sub("***@", text) if "@" in text else text
