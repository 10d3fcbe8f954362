"""Origins as browsers write them, and hosts that stand for some (RFC 6454, section 6.1)."""

import re
from urllib.parse import urlsplit

_PORTS = {"http": ":80", "https": ":443"}
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?")
# As MLflow's own server takes them for `--allowed-hosts`: an asterisk stands for any text.
_HOST_PATTERN = re.compile(r"([a-z0-9._*-]+|\[[0-9a-f:.]+\])(:[0-9*]+)?")
_WITH_PORT = re.compile(r".*:[0-9]+")


def parse_origin(text: str) -> str:
    """An origin as it stands in the header `Origin`; `*` and `null` as they are.

    Raises:
        ValueError: it is none.
    """
    if text in ("*", "null"):
        return text
    url = urlsplit(text.lower())
    if not url.scheme or url.port == 0:  # reading the port raises where there can be no such
        raise ValueError(f"{text!r} is not an origin")
    host = url.netloc.removesuffix(_PORTS.get(url.scheme, "/"))
    if not _HOST.fullmatch(host) or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError(f"{text!r} is not an origin")
    return f"{url.scheme}://{host}"


def parse_host(text: str) -> str:
    """A host, with or without a port, or an origin, for `is_of`; each may have asterisks.

    Raises:
        ValueError: it is none.
    """
    scheme, separator, host = text.lower().removesuffix("/").rpartition("://")
    if not _HOST_PATTERN.fullmatch(host) or (separator and scheme not in _PORTS):
        raise ValueError(f"{text!r} is not a host")
    return f"{scheme}://{host.removesuffix(_PORTS[scheme])}" if separator else host


def is_of(origin: str, host: str) -> bool:
    """Whether an origin is of a host.

    Args:
        origin: As a browser writes it, in lower case.
        host: As `parse_host` returns it. Without a port it stands for those that browsers leave
            out.
    """
    scheme, separator, written = origin.partition("://")
    if not separator:
        # `null`, of a page that has none.
        return False
    whole = written if _WITH_PORT.fullmatch(written) else written + _PORTS.get(scheme, "")
    pattern = re.escape(host).replace(r"\*", ".*")
    return any(re.fullmatch(pattern, one) for one in (origin, written, whole))
