"""Bodies that were packed (RFC 9110, section 8.4): unpacked whole or refused.

aiohttp unpacks as well, but takes a stream that was cut off for a whole one.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, Protocol

from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from server.http.budget import Hold
from server.http.threads import THREADS, in_thread

# What is handed to a decoder at once; it copies what stands behind the end of a member.
_PIECE = 64 * 1024
# How much is unpacked before it is looked whether there is room for more.
_STEP = 1024 * 1024
# Log rotation and the like write some members behind each other, nobody writes thousands.
_MOST_MEMBERS = 1024
_MOST_CODINGS = 4
# A larger window must not be sent (RFC 9659).
_ZSTD_WINDOW_LOG = 23
_DAMAGED_ZSTD = "is damaged, or has a window above 8 MiB"


class _Decoder(Protocol):
    """What `lzma` and the modules after its pattern have."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

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


class _ZlibDecoder:
    """zlib's decoder in that pattern."""

    def __init__(self, wbits: int) -> None:
        self._decoder = zlib.decompressobj(wbits)
        self._limited = False

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        return not (self._limited or self._decoder.unconsumed_tail)

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        unpacked = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        # More may be in its window, all input taken.
        self._limited = len(unpacked) == max_length
        return unpacked


def _gzip(_beginning: bytes) -> _Decoder:
    return _ZlibDecoder(16 + zlib.MAX_WBITS)


def _deflate(beginning: bytes) -> _Decoder:
    """By the standard that is zlib's format (RFC 1950); many send the bare stream in it (RFC 1951,
    see the note in RFC 9110, section 8.4.1.2)."""
    head = int.from_bytes(beginning[:2], "big")
    is_zlib = head >> 8 & 0xF == zlib.DEFLATED and head % 31 == 0
    return _ZlibDecoder(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


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
    """brotli's decoder in that pattern; it raises where something follows its end."""

    unused_data = b""

    def __init__(self, module: Any) -> None:
        self._decoder = module.Decompressor()
        self._gave = False

    @property
    def eof(self) -> bool:
        return bool(self._decoder.is_finished())

    @property
    def needs_input(self) -> bool:
        # It takes more although it has not given all, too.
        return not self._gave and bool(self._decoder.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        unpacked: bytes = self._decoder.process(data, output_buffer_limit=max_length)
        self._gave = bool(unpacked)
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


class Unpacker:
    """Unpacks bodies, off the event loop.

    Args:
        largest: Most bytes that one may have unpacked, at each step.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        # Decoders take megabytes, too: there are no more than can be used at once.
        self._turn = asyncio.Semaphore(THREADS)

    async def unpack(self, body: bytes, codings: Sequence[str], hold: Hold) -> bytes:
        """Unpack a body.

        Args:
            body: As it was sent.
            codings: What `codings_of` returned.
            hold: What it takes of memory; grows as it is unpacked.

        Raises:
            TooMuchInFlight: there is no room for more of it.
            HTTPRequestEntityTooLarge: it would have too many bytes.
            HTTPBadRequest: it is damaged, cut off, or goes on after its end.
        """
        async with self._turn:
            for name in reversed(codings):
                try:
                    body = await self._unpack(_CODINGS[name], body, hold)
                except _Damaged as error:
                    reason = (
                        f"the body is not what Content-Encoding says: the {name} stream {error}"
                    )
                    raise web.HTTPBadRequest(reason=reason) from None
                hold.resize(len(body))
        return body

    async def _unpack(self, coding: _Coding, packed: bytes, hold: Hold) -> bytes:
        pieces = _unpacked(coding, packed)
        body = BytesIO()
        more = True
        while more:
            more = await in_thread(_write_some, pieces, body)
            if body.tell() > self._largest:
                raise web.HTTPRequestEntityTooLarge(self._largest)
            hold.resize(len(packed) + body.tell())
        return body.getvalue()


class _Damaged(Exception):
    """A stream is not in order; the message says how."""


def _write_some(pieces: Iterator[bytes], body: BytesIO) -> bool:
    """Write the next pieces, and return whether there may be more."""
    end = body.tell() + _STEP
    for piece in pieces:
        body.write(piece)
        if body.tell() >= end:
            return True
    return False


def _unpacked(coding: _Coding, packed: bytes) -> Iterator[bytes]:
    """What comes of one coding, in pieces of at most `_STEP` bytes.

    Raises:
        _Damaged: the stream is not in order.
    """
    decoder = coding.begin(packed)
    members = 1
    try:
        for place in range(0, len(packed), _PIECE):
            piece = packed[place : place + _PIECE]
            while piece:
                if decoder.eof:
                    members += 1
                    if members > coding.members:
                        raise _Damaged("goes on after its end")
                    decoder = coding.begin(piece)
                yield decoder.decompress(piece, _STEP)
                while not (decoder.eof or decoder.needs_input):
                    yield decoder.decompress(b"", _STEP)
                piece = decoder.unused_data
    except coding.error:
        raise _Damaged(coding.damaged) from None
    if not decoder.eof:
        raise _Damaged("ends too early")


def _unsupported(reason: str) -> web.HTTPUnsupportedMediaType:
    # RFC 9110, section 15.5.16: the header tells such a refusal from one of the type.
    return web.HTTPUnsupportedMediaType(reason=reason, headers={hdrs.ACCEPT_ENCODING: TAKEN})
