"""The worker's end of the socket pair: blocking, one frame at a time."""

import socket
from collections.abc import Iterable

from . import frames
from .frames import Answer, Buffer, Kind

_READ_BUFFER = 256 * 1024
# The gateway keeps a frame until it is whole, and can't refuse a part of it.
_FRAME_BYTES = 1024 * 1024


class Channel:
    """Reads the gateway's frames and writes the worker's. Each direction has one user at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = sock.makefile("rb", buffering=_READ_BUFFER)

    def fileno(self) -> int:
        """The descriptor, to watch for the gateway's end."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end, or this process's copy of it."""
        self._reader.close()
        self._socket.close()

    def receive(self) -> tuple[Kind, list[memoryview]] | None:
        """Wait for the next frame; None when the gateway has closed its end."""
        header = self._reader.read(frames.HEADER_SIZE)
        if len(header) < frames.HEADER_SIZE:
            return None
        kind, count, size = frames.decode_header(header)
        payload = self._reader.read(size)
        if len(payload) < size:
            return None
        return kind, frames.decode_parts(count, payload)

    def send(self, kind: Kind, *parts: bytes) -> None:
        """Write one frame.

        Raises:
            OSError: the gateway has closed its end.
        """
        self._write(frames.encode(kind, parts))

    def send_answers(self, answers: Iterable[Answer]) -> None:
        """Write ANSWERS frames: small answers together, large ones each by itself.

        Raises:
            OSError: the gateway has closed its end.
        """
        together: list[Answer] = []
        size = 0
        for answer in answers:
            size += len(answer.body)
            if together and size > _FRAME_BYTES:
                self._write(frames.encode_answers(together))
                together, size = [], len(answer.body)
            together.append(answer)
        self._write(frames.encode_answers(together))

    def _write(self, buffers: list[Buffer]) -> None:
        if sum(map(len, buffers)) < frames.JOIN_BELOW:
            self._socket.sendall(b"".join(buffers))
        else:
            for buffer in buffers:
                self._socket.sendall(buffer)
