"""Bodies that were packed: taken whole, or refused with the reason."""

import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator

import brotli
import pytest
from backports import zstd

from server.http.unpacking import TAKEN
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.raw import RawClient

LIMIT = 4_000_000
# Cut anywhere, it is still CSV.
CSV = b"text\n" + b"".join(b"row %d\n" % n for n in range(4_000))
ROWS = 4_000


def zlib_packed(data: bytes) -> bytes:
    """As `deflate` is by the standard."""
    return zlib.compress(data)


def raw_deflated(data: bytes) -> bytes:
    """As many send `deflate`."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(CSV)),
    "zlib": ("deflate", zlib_packed(CSV)),
    "raw": ("deflate", raw_deflated(CSV)),
}


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with a small body limit."""
    return await start_gateway("fine", max_body_bytes=LIMIT)


@pytest.fixture(params=["whole", "chunked"])
async def send(request: pytest.FixtureRequest, client: Client) -> "AsyncIterator[SendPacked]":
    """Sends a packed CSV, in one piece or in chunks."""
    async with await RawClient.open(client.port) as raw:
        yield SendPacked(raw, chunked=request.param == "chunked")


class SendPacked:
    """Sends packed bodies over a connection."""

    def __init__(self, raw: RawClient, *, chunked: bool) -> None:
        self._raw = raw
        self._chunked = chunked

    async def __call__(self, body: bytes, encoding: str) -> tuple[int, dict[str, str], bytes]:
        head = (
            "POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Type: text/csv\r\n"
            f"Content-Encoding: {encoding}\r\n"
        ).encode("latin-1")
        if self._chunked:
            await self._raw.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 1_000):
                piece = body[start : start + 1_000]
                await self._raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._raw.send(b"0\r\n\r\n")
        else:
            await self._raw.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return await self._raw.whole_answer()


def rows(answer: tuple[int, dict[str, str], bytes]) -> int:
    """How many rows were predicted."""
    assert answer[0] == 200, answer
    return len(json.loads(answer[2])["predictions"])


def reason(answer: tuple[int, dict[str, str], bytes], status: int) -> str:
    """Why the body was refused, in the shape of every error."""
    assert answer[0] == status, answer
    refusal = json.loads(answer[2])
    assert refusal.keys() == {"error_code", "message"}
    assert "codec" not in refusal["message"]
    return str(refusal["message"])


@pytest.mark.parametrize("kind", PACKED)
async def test_a_packed_body_is_taken_whole(send: SendPacked, kind: str) -> None:
    encoding, packed = PACKED[kind]
    assert rows(await send(packed, encoding)) == ROWS


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("cut", ["half", "trailer", "last byte", "first byte", "all"])
async def test_a_body_that_ends_too_early_is_refused(send: SendPacked, kind: str, cut: str) -> None:
    encoding, packed = PACKED[kind]
    ends = {"half": len(packed) // 2, "trailer": -8, "last byte": -1, "first byte": 1, "all": 0}
    answer = await send(packed[: ends[cut]], encoding)
    assert "ends too early" in reason(answer, 400)
    assert rows(await send(packed, encoding)) == ROWS


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", PACKED["gzip"][1][:-8] + b"\0" * 4 + PACKED["gzip"][1][-4:]),
        ("gzip", PACKED["gzip"][1][:-4] + b"\0" * 4),
        ("gzip", PACKED["gzip"][1][:500] + b"\xff" * 50 + PACKED["gzip"][1][550:]),
        ("gzip", CSV),
        ("gzip", PACKED["gzip"][1] + b"garbage"),
        ("gzip", PACKED["gzip"][1] + b"\0" * 10),
        ("gzip", PACKED["zlib"][1]),
        ("deflate", PACKED["zlib"][1][:-4] + b"\0" * 4),
        ("deflate", PACKED["zlib"][1] + b"garbage"),
        ("deflate", PACKED["zlib"][1] * 2),
        ("deflate", PACKED["raw"][1] + b"garbage"),
        ("deflate", PACKED["gzip"][1]),
        ("gzip", gzip.compress(b"text\nrow\n") * 2_000),
        ("gzip", PACKED["gzip"][1] + PACKED["gzip"][1][:100]),
    ],
    ids=[
        "gzip checksum",
        "gzip length",
        "gzip content",
        "gzip not packed",
        "gzip and garbage",
        "gzip and zeros",
        "gzip that is deflate",
        "deflate checksum",
        "deflate and garbage",
        "deflate twice",
        "raw deflate and garbage",
        "deflate that is gzip",
        "thousands of members",
        "gzip and half of one",
    ],
)
async def test_a_body_that_is_not_in_order_is_refused(
    send: SendPacked, encoding: str, body: bytes
) -> None:
    assert "stream" in reason(await send(body, encoding), 400)


async def test_several_members_of_gzip_are_one_body(send: SendPacked) -> None:
    half = CSV.index(b"\n", len(CSV) // 2) + 1
    packed = gzip.compress(CSV[:half]) + gzip.compress(b"") + gzip.compress(CSV[half:])
    assert rows(await send(packed, "gzip")) == ROWS


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("x-gzip", gzip.compress(CSV)),
        ("GZip", gzip.compress(CSV)),
        ("X-GZIP", gzip.compress(CSV)),
        ("Deflate", zlib_packed(CSV)),
        ("identity", CSV),
        ("Identity, gzip", gzip.compress(CSV)),
        ("gzip, gzip", gzip.compress(gzip.compress(CSV))),
        ("deflate, gzip", gzip.compress(zlib_packed(CSV))),
        (
            "gzip ,, deflate\r\nContent-Encoding: gzip",
            gzip.compress(zlib_packed(gzip.compress(CSV))),
        ),
        ("", CSV),
    ],
)
async def test_codings_are_known_by_every_spelling(
    send: SendPacked, encoding: str, body: bytes
) -> None:
    assert rows(await send(body, encoding)) == ROWS


@pytest.mark.parametrize(
    "encoding", ["compress", "aes128gcm", "gzip, none", "gzip;q=1", "utf-8", "gzip\xff", "gz\tip"]
)
async def test_an_unknown_coding_is_refused_with_those_that_are_taken(
    send: SendPacked, encoding: str
) -> None:
    answer = await send(gzip.compress(CSV), encoding)
    assert TAKEN in reason(answer, 415)
    assert answer[1]["accept-encoding"] == TAKEN


async def test_a_body_packed_many_times_is_refused(send: SendPacked) -> None:
    answer = await send(gzip.compress(CSV), ", ".join(["gzip"] * 500))
    assert "500 times" in reason(answer, 415)


@pytest.mark.parametrize("encoding", ["zstd", "br"])
async def test_a_coding_whose_package_is_installed_is_taken(
    send: SendPacked, encoding: str
) -> None:
    packed = pack_by_package(CSV, encoding)
    assert rows(await send(packed, encoding)) == ROWS
    assert rows(await send(gzip.compress(packed), f"{encoding}, gzip")) == ROWS
    for damaged in (packed[: len(packed) // 2], packed[:-1], packed + b"garbage", b"", CSV):
        assert "stream" in reason(await send(damaged, encoding), 400)
    bomb = pack_by_package(b"a" * 100_000_000, encoding)
    assert "MAX_BODY_BYTES" in reason(await send(bomb, encoding), 413)


def pack_by_package(data: bytes, encoding: str) -> bytes:
    """Pack with the package that unpacks."""
    if encoding == "br":
        return bytes(brotli.compress(data, quality=1))
    return bytes(zstd.compress(data))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip"])
async def test_a_bomb_is_refused_while_others_are_answered(
    send: SendPacked, client: Client, encoding: str
) -> None:
    bomb = b" " * 50_000_000
    packed = gzip.compress(bomb, 1) if "gzip" in encoding else zlib.compress(bomb, 1)
    if encoding == "gzip, gzip":
        packed = gzip.compress(packed)
    started = time.monotonic()
    assert "MAX_BODY_BYTES" in reason(await send(packed, encoding), 413)
    assert time.monotonic() - started < 5
    assert (await client.get("/livez")).status == 200


async def test_a_body_of_exactly_the_limit_is_taken(send: SendPacked) -> None:
    body = b"text\n" + b"a" * (LIMIT - 5)
    assert rows(await send(gzip.compress(body, 1), "gzip")) == 1
    assert "MAX_BODY_BYTES" in reason(await send(gzip.compress(body + b"a", 1), "gzip"), 413)


@pytest.mark.parametrize("path", ["/invocations", "/no/such/route", "/health"])
@pytest.mark.parametrize("expect", ["200-maybe", "100-continue, more", "\xff"])
async def test_an_unknown_expectation_is_refused_in_json(
    client: Client, path: str, expect: str
) -> None:
    async with await RawClient.open(client.port) as raw:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\nContent-Length: 2\r\n\r\n"
        )
        await raw.send(head.encode("latin-1") + b"{}")
        status, headers, body = await raw.whole_answer()
        assert "100-continue" in reason((status, headers, body), 417)
        assert headers["x-request-id"]
        # The connection stays in step.
        await raw.send(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await raw.answer())[0] == 200


async def test_who_expects_100_continue_is_told_to(client: Client) -> None:
    packed = gzip.compress(CSV)
    async with await RawClient.open(client.port) as raw:
        await raw.send(
            b"POST /invocations HTTP/1.1\r\nHost: test\r\nExpect: 100-Continue\r\n"
            b"Content-Type: text/csv\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n" % len(packed)
        )
        assert (await raw.answer())[0] == 100
        await raw.send(packed)
        assert rows(await raw.whole_answer()) == ROWS
