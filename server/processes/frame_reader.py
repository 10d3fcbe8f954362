"""What comes from a worker, cut into frames."""

from collections.abc import Iterator

from server.worker import frames
from server.worker.frames import Buffer, Kind

# No answer is as large; a worker that announces more does not speak this protocol.
_LARGEST_FRAME = 1 << 30
# Of frames that answer nothing.
_FEW_PARTS = 4


class FrameReader:
    """Puts together the frames of one worker, whichever pieces they come in.

    Attributes:
        most_parts: How many parts a frame may have. One of many empty parts would be small as it
            comes, and large once it is cut up.
    """

    def __init__(self) -> None:
        self.most_parts = _FEW_PARTS
        self._buffer = bytearray()
        self._head: tuple[Kind, int, int] | None = None

    def feed(self, data: bytes) -> Iterator[tuple[Kind, list[memoryview]]]:
        """Take what has come, and yield the kind and the parts of each frame that is whole now.

        Raises:
            struct.error, ValueError: these are no frames.
        """
        if self._head is not None and (missing := self._head[2] - len(self._buffer)) < len(data):
            # What comes behind a frame is kept apart from it, so that it needs no copy.
            view = memoryview(data)
            self._buffer += view[:missing]
            frame = self._next()
            assert frame is not None
            yield frame
            self._buffer += view[missing:]
        else:
            self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> tuple[Kind, list[memoryview]] | None:
        if self._head is None:
            if len(self._buffer) < frames.HEADER_SIZE:
                return None
            self._head = frames.decode_header(self._buffer[: frames.HEADER_SIZE])
            del self._buffer[: frames.HEADER_SIZE]
            _, count, size = self._head
            if size > _LARGEST_FRAME:
                raise ValueError(f"a frame of {size} bytes")
            if count > self.most_parts:
                raise ValueError(f"a frame of {count} parts")
        kind, count, size = self._head
        if len(self._buffer) < size:
            return None
        self._head = None
        return kind, frames.decode_parts(count, self._take(size))

    def _take(self, size: int) -> Buffer:
        if len(self._buffer) == size:
            # As it mostly is: not copied, however large.
            payload, self._buffer = self._buffer, bytearray()
            return payload
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken
