"""How large the head of a request may be: the request line and all headers."""

import structlog
from aiohttp import web

from server.http.errors import error_response

# Sign-on cookies and tokens take tens of kilobytes; MLflow's own server takes about as much.
MAX_HEAD_BYTES = 64 * 1024
# Of what fits into a head no client needs more; each costs more memory than its bytes.
MAX_HEADERS = 1024

END_OF_HEAD = b"\r\n\r\n"

log = structlog.get_logger("server.http")


def refuse_large_head() -> web.Response:
    """The answer to a request whose head is larger (RFC 6585, section 5); logged."""
    log.info("request_malformed", error="the head is too large")
    return error_response(
        431,
        "the request line and the headers, cookies among them, are larger than this server takes: "
        f"{MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers together",
    )


def head_size(request: web.BaseRequest) -> int:
    """How many bytes the head of a request took, but for white space around values."""
    line = len(request.method) + len(request.raw_path) + len("  HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + 4 for name, value in request.raw_headers) + 2
