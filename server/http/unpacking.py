"""Bodies that were packed (RFC 9110, section 8.4): unpacked whole or refused.

aiohttp unpacks as well, but takes a stream that was cut off for a whole one.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from server.http.threads import in_thread

# What is handed to a decoder at once; it copies what stands behind the end of a member.
_PIECE = 64 * 1024
# Log rotation and the like write some members behind each other, nobody writes thousands.
_MOST_MEMBERS = 1024
_MOST_CODINGS = 4
# A larger window must not be sent (RFC 9659).
_ZSTD_WINDOW_LOG = 23
_DAMAGED_ZSTD = "is damaged, or has a window above 8 MiB"


class _Decoder(Protocol):
    """What `zlib` and the modules after its pattern have."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Coding:
    """How a content coding is unpacked.

    Attributes:
        begin: Makes a decoder for a stream that begins with such bytes.
        members: How many streams may stand one behind the other.
        error: What the decoder raises.
        damaged: What that says of the stream.
    """

    begin: Callable[[bytes], _Decoder]
    members: int
    error: type[Exception]
    damaged: str = "is damaged"


def _gzip(_beginning: bytes) -> _Decoder:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _deflate(beginning: bytes) -> _Decoder:
    """By the standard that is zlib's format (RFC 1950); many send the bare stream in it (RFC 1951,
    see the note in RFC 9110, section 8.4.1.2)."""
    head = int.from_bytes(beginning[:2], "big")
    is_zlib = head >> 8 & 0xF == zlib.DEFLATED and head % 31 == 0
    return zlib.decompressobj(wbits=zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _zstd() -> dict[str, _Coding]:
    """zstd where Python has it (3.14), or the package backports.zstd."""
    module = _first_of("compression.zstd", "backports.zstd")
    if module is None:
        return {}
    options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}

    def begin(_beginning: bytes) -> _Decoder:
        decoder: _Decoder = module.ZstdDecompressor(options=options)
        return decoder

    return {"zstd": _Coding(begin, _MOST_MEMBERS, module.ZstdError, _DAMAGED_ZSTD)}


def _brotli() -> dict[str, _Coding]:
    """br where a package brotli or brotlicffi is installed that can be bounded (1.2)."""
    module = _first_of("brotlicffi", "brotli")
    if module is None:
        return {}
    try:
        module.Decompressor().process(b"", output_buffer_limit=1)
    except TypeError:
        return {}
    return {"br": _Coding(lambda _: _BrotliDecoder(module), 1, module.error)}


def _first_of(*modules: str) -> Any:
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


class _BrotliDecoder:
    """brotli's decoder in the pattern of `zlib`; it raises where something follows its end."""

    unused_data = b""

    def __init__(self, module: Any) -> None:
        self._decoder = module.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        unpacked: bytes = self._decoder.process(data, output_buffer_limit=max_length)
        return unpacked


_CODINGS: Mapping[str, _Coding] = {
    "gzip": _Coding(_gzip, _MOST_MEMBERS, zlib.error),
    # The same (RFC 9110, section 8.4.1.3).
    "x-gzip": _Coding(_gzip, _MOST_MEMBERS, zlib.error),
    "deflate": _Coding(_deflate, 1, zlib.error),
    **_zstd(),
    **_brotli(),
}

TAKEN = ", ".join(name for name in _CODINGS if name != "x-gzip")
"""The content codings that can be unpacked, as `Accept-Encoding` has them."""


def codings_of(headers: "CIMultiDictProxy[str]") -> Sequence[str]:
    """The codings that a body was packed with, in order.

    Raises:
        HTTPUnsupportedMediaType: one of them can't be unpacked, or they are too many.
    """
    listed = ",".join(headers.getall(hdrs.CONTENT_ENCODING, ())).split(",")
    names = [name for item in listed if (name := item.strip().lower()) not in ("", "identity")]
    for name in names:
        if name not in _CODINGS:
            raise _unsupported(f"Content-Encoding {name[:40]!a} is not taken; send {TAKEN} or none")
    if len(names) > _MOST_CODINGS:
        raise _unsupported(f"the body is packed {len(names)} times; send it packed once")
    return names


async def unpack(body: bytes, codings: Sequence[str], limit: int) -> bytes:
    """Unpack a body, off the event loop.

    Args:
        body: As it was sent.
        codings: What `codings_of` returned.
        limit: Most bytes that it may have unpacked, at each step.

    Raises:
        HTTPRequestEntityTooLarge: it would have more.
        HTTPBadRequest: it is damaged, cut off, or goes on after its end.
    """
    for name in reversed(codings):
        try:
            body = await in_thread(_unpack, _CODINGS[name], body, limit)
        except _Damaged as error:
            raise web.HTTPBadRequest(
                reason=f"the body is not what Content-Encoding says: the {name} stream {error}"
            ) from None
        if len(body) > limit:
            raise web.HTTPRequestEntityTooLarge(limit)
    return body


class _Damaged(Exception):
    """A stream is not in order; the message says how."""


def _unpack(coding: _Coding, packed: bytes, limit: int) -> bytes:
    """Unpack one coding; of what is over the limit, only so much that it shows."""
    decoder = coding.begin(packed)
    members = 1
    parts: list[bytes] = []
    size = 0
    try:
        for place in range(0, len(packed), _PIECE):
            piece = packed[place : place + _PIECE]
            while piece:
                if decoder.eof:
                    members += 1
                    if members > coding.members:
                        raise _Damaged("goes on after its end")
                    decoder = coding.begin(piece)
                parts.append(decoder.decompress(piece, limit + 1 - size))
                size += len(parts[-1])
                if size > limit:
                    return b"".join(parts)
                piece = decoder.unused_data
    except coding.error:
        raise _Damaged(coding.damaged) from None
    if not decoder.eof:
        raise _Damaged("ends too early")
    return b"".join(parts)


def _unsupported(reason: str) -> web.HTTPUnsupportedMediaType:
    # RFC 9110, section 15.5.16: the header tells such a refusal from one of the type.
    return web.HTTPUnsupportedMediaType(reason=reason, headers={hdrs.ACCEPT_ENCODING: TAKEN})
