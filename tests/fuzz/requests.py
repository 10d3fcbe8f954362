"""Pipelines of HTTP requests, most of them almost right."""

import gzip
import json
import zlib
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeVar

from hypothesis import strategies as st

# The answer to this one tells that all before it are answered.
LAST = b"GET /livez HTTP/1.1\r\nHost: fuzz\r\nX-Request-ID: the-last\r\n\r\n"
# In a body, it must not be taken for a request.
_WITHIN = b"GET /livez HTTP/1.1\r\nHost: fuzz\r\nX-Request-ID: within\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is sent over one connection: the bytes, and where they are cut into pieces."""

    data: bytes
    cuts: tuple[int, ...]

    @property
    def pieces(self) -> list[bytes]:
        """What is sent at once, each."""
        ends = [0, *sorted({cut % (len(self.data) + 1) for cut in self.cuts}), len(self.data)]
        pieces = (self.data[start:end] for start, end in pairwise(ends))
        return [piece for piece in pieces if piece]


T = TypeVar("T")


def _often(usual: T, *others: T) -> st.SearchStrategy[T]:
    """Mostly the first."""
    return st.one_of(st.just(usual), st.just(usual), st.sampled_from([usual, *others]))


_TEXT = json.dumps({"instances": ["some text"]}).encode()
_LONG = json.dumps({"instances": ["some text"] * 4000}).encode()
_BODIES = st.one_of(
    st.just(_TEXT),
    st.sampled_from(
        [
            b"",
            b"{",
            b"\r\n\r\n",
            b"null",
            b"text\nsome text\n",
            b"PAR1 but not Parquet PAR1",
            b'{"instances": []}',
            b'{"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}}',
            b'{"inputs": {"text": ["\\ud83d"]}}',
            b'{"instances": ["' + b"x" * 70_000 + b'"]}',
            _LONG,
            _WITHIN,
        ]
    ),
    st.binary(max_size=60),
)
_METHODS = _often(
    b"POST", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"post", b"P(ST", b"", b"M" * 99
)
_TARGETS = _often(
    b"/invocations",
    b"/invocations/",
    b"/invocations?x=1",
    b"//invocations",
    b"/%69nvocations",
    b"http://fuzz/invocations",
    b"/invocations#x",
    b"/livez",
    b"/health",
    b"/ping",
    b"/version",
    b"/none",
    b"*",
    b"",
    b"/\xff\x00",
    b"/" + b"x" * 9000,
)
_VERSIONS = _often(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1", b"")
_TYPES = _often(
    b"application/json",
    b"application/json; charset=utf-8",
    b"APPLICATION/JSON",
    b"text/csv",
    b"application/vnd.apache.parquet",
    b"text/plain",
    b"",
    b"\xff",
)
_NAMES = st.sampled_from(
    [
        b"Accept-Encoding: gzip",
        b"Accept: */*",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Upgrade\r\nUpgrade: websocket",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
        b"Content-Encoding: br",
        b"Content-Encoding: gzip",
        b"Content-Encoding: gzip, gzip",
        b"Content-Encoding: identity",
        b"Content-Encoding: nonsense",
        b"Cookie: a=b",
        b"Expect: 100-continue",
        b"Expect: 100-Continue",
        b"Expect: the worst",
        b"Host: another",
        b"No colon",
        b"Origin: http://pages.example",
        b"Spaced : value",
        b": no name",
        b" Folded: at once",
        b"Folded: one\r\n two",
        b"Nul: \x00",
        b"Bare: \r",
        b"Feed: \n",
        b"High: \xff\xfe",
        b"Long: " + b"x" * 9000,
        b"Longer: " + b"x" * 66_000,
        b"Trailer: X",
        b"X-Request-ID: mine",
        b"X-Request-ID: \xc3\xa9 and more " + b"y" * 300,
        b"Many: 1\r\n" * 1100 + b"Many: 2",
    ]
)


def _any_case(line: bytes, swap: bool) -> bytes:
    name, colon, value = line.partition(b":")
    return name.swapcase() + colon + value if swap else line


_CHUNK_HEADS = _often(
    *(b"%x", b"%X", b"000%x", b"%x;a=b", b'%x ; a="b;c"', b"%x\t", b"0x%x", b"-%x")
)


@st.composite
def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """A body in chunks (RFC 9112, section 7.1), or almost."""
    out = bytearray()
    size = draw(st.sampled_from([1, 3, 1000, 70_000]))
    pieces = [body[start : start + size] for start in range(0, len(body), size)][:200]
    for piece in pieces:
        form = draw(
            _often(b"%x", b"%X", b"000%x", b"%x;a=b", b'%x ; a="b;c"', b"%x\t", b"0x%x", b"-%x")
        )
        out += form % len(piece) + b"\r\n" + piece
        out += draw(_often(b"\r\n", b"\n", b"", b"x\r\n"))
    out += draw(
        _often(
            b"0\r\n\r\n",
            b"0\r\nTrailing: 1\r\n\r\n",
            b"0;x\r\n\r\n",
            b"000\r\n\r\n",
            b"0\r\n",
            b"",
            b"0\r\nContent-Length: 3\r\n\r\n",
            b"f" * 17 + b"\r\n",
            b"\r\n",
        )
    )
    return bytes(out)


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    body = draw(_BODIES)
    packing = draw(_often("", "gzip", "deflate"))
    lines = [b"Host: fuzz"] if draw(_often(True, False)) else []
    lines.append(b"Content-Type: %b" % draw(_TYPES))
    if packing:
        body = gzip.compress(body, mtime=0) if packing == "gzip" else zlib.compress(body)
        lines.append(b"Content-Encoding: " + packing.encode())
    framing = draw(_often("length", "chunked", "both", "neither", "wrong", "odd"))
    length = len(body)
    if framing in ("length", "both"):
        lines.append(b"Content-Length: %d" % length)
    elif framing == "wrong":
        lines.append(b"Content-Length: %d" % max(0, length + draw(st.sampled_from([-1, 1, 40]))))
    elif framing == "odd":
        odd = draw(
            st.sampled_from(
                [
                    b"Content-Length: +%d" % length,
                    b"Content-Length: %d, %d" % (length, length),
                    b"Content-Length: -1",
                    b"Content-Length: 1_0",
                    b"Content-Length: 0x10",
                    b"Content-Length:",
                    b"Content-Length: " + b"9" * 30,
                    b"Content-Length: %d\r\nContent-Length: %d" % (length, length),
                    b"Content-Length: %d\r\nContent-Length: %d" % (length, length + 1),
                    b"Transfer-Encoding: identity",
                    b"Transfer-Encoding: gzip, chunked",
                    b"Transfer-Encoding: chunked, chunked",
                    b"Transfer-Encoding: chunked, gzip",
                    b"Transfer-Encoding:\x0bchunked",
                    b"Transfer-Encoding : chunked",
                ]
            )
        )
        lines.append(odd)
    if framing in ("chunked", "both"):
        lines.append(b"Transfer-Encoding: " + draw(_often(b"chunked", b"Chunked", b"chunked ")))
        body = draw(_chunked(body))
    lines += draw(st.lists(_NAMES, max_size=2))
    lines = [_any_case(line, draw(st.booleans())) for line in draw(st.permutations(lines))]
    start = b"%b %b %b" % (draw(_METHODS), draw(_TARGETS), draw(_VERSIONS))
    end = draw(_often(b"\r\n", b"\n", b"\r"))
    return end.join([start, *lines, b"", b""]) + body


@st.composite
def _predictions(draw: st.DrawFn) -> bytes:
    """One that is right, and goes the short way where it arrives by itself."""
    body = draw(st.sampled_from([_TEXT, b"{", b'{"instances": []}', _LONG]))
    lines = [b"Host: fuzz", b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    lines += draw(st.lists(st.sampled_from([b"X-Request-ID: mine", b"Accept-Encoding: gzip"])))
    lines = [_any_case(line, draw(st.booleans())) for line in draw(st.permutations(lines))]
    return b"\r\n".join([b"POST /invocations HTTP/1.1", *lines, b"", b""]) + body


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    """Some requests, and one that is right."""
    some = st.one_of(_predictions(), _predictions(), _requests())
    requests = draw(st.lists(some, min_size=1, max_size=4))
    between = draw(_often(b"", b"\r\n", b"\r\n\r\n", b"\x00"))
    cuts = draw(st.lists(st.integers(0, 200_000), max_size=4))
    if draw(_often(True, False)):
        cuts += accumulate(len(request) + len(between) for request in requests)
    return Pipeline(between.join([*requests, LAST]), tuple(cuts))
