"""Reading an answer that is a stream of the model in waiting/models/ticker.py, as it comes."""

import json

_END = b"data: [DONE]"
_FIELD = b"data: "
_SAID_BYTES = 200


class EventStream:
    """One answer over HTTP/1.1.

    Attributes:
        ended: Whether all of it was read.
        closes: Whether the server closes the connection after it.
        latencies: Of each chunk: seconds from its being yielded to its being read.
    """

    def __init__(self) -> None:
        self.ended = False
        self.closes = False
        self.latencies: list[float] = []
        self._head = b""
        self._raw = b""
        self._length: int | None = None
        self._line = b""
        self._numbers: list[int] = []
        self._done = False
        self._odd = b""

    def feed(self, data: bytes, now: float) -> None:
        """Take what was read at a time of the monotonic clock."""
        self._raw += data
        if not self._head and not self._take_head():
            return
        while not self.ended and (content := self._take_content()) is not None:
            self._take_lines(content, now)

    def whole(self, chunks: int) -> bool:
        """Whether so many chunks came, in order, then [DONE], the end, and nothing else."""
        return (
            self._head.startswith(b"HTTP/1.1 200 ")
            and b"\r\ncontent-type: text/event-stream" in self._head.lower()
            and self._numbers == list(range(chunks))
            and self._done
            and self.ended
            and not self._odd
            and not self._line
        )

    def said(self) -> str:
        """The status line, how many chunks there were, and what else was in the answer."""
        status = self._head.partition(b"\r\n")[0] or b"nothing"
        parts = [
            status.decode(errors="replace"),
            f"{len(self._numbers)} chunks",
            "[DONE]" if self._done else "no [DONE]",
            "ended" if self.ended else "no end",
            (self._odd or self._line)[:_SAID_BYTES].decode(errors="replace"),
        ]
        return ", ".join(part for part in parts if part)

    def _take_head(self) -> bool:
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            return False
        self._head, self._raw = head, rest
        for line in head.lower().split(b"\r\n")[1:]:
            name, _, value = (part.strip() for part in line.partition(b":"))
            if name == b"content-length":
                self._length = int(value)
            elif name == b"connection":
                self.closes = value == b"close"
        return True

    def _take_content(self) -> bytes | None:
        """The whole body, or the next chunk of its transfer coding (RFC 9112, section 7.1);
        None where more must be read first."""
        if self._length is not None:
            if len(self._raw) < self._length:
                return None
            self.ended = True
            return self._raw[: self._length]
        size, _, rest = self._raw.partition(b"\r\n")
        length = int(size or b"0", 16)
        if len(rest) < length + len(b"\r\n"):
            return None
        self._raw = rest[length + len(b"\r\n") :]
        # There are no trailers.
        self.ended = not length
        return rest[:length]

    def _take_lines(self, content: bytes, now: float) -> None:
        *lines, self._line = (self._line + content).split(b"\n")
        for line in lines:
            if self._done or not line.startswith(_FIELD):
                self._odd += line
            elif line == _END:
                self._done = True
            else:
                self._take_chunk(line, now)

    def _take_chunk(self, line: bytes, now: float) -> None:
        try:
            chunk = json.loads(line.removeprefix(_FIELD))
            self.latencies.append(now - chunk["at"])
            self._numbers.append(chunk["number"])
        except (ValueError, KeyError):
            self._odd += line
