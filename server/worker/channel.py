"""The worker's end of the socket pair: blocking, one frame at a time."""

import socket
import threading
from collections.abc import Iterable

from . import frames
from .frames import Answer, Buffer, Kind

_READ_BUFFER = 256 * 1024
# The gateway keeps a frame until it is whole, and can't refuse a part of it.
_FRAME_BYTES = 1024 * 1024


class Channel:
    """Reads the gateway's frames, for one thread, and writes the worker's, for any."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = sock.makefile("rb", buffering=_READ_BUFFER)
        self._writing = threading.Lock()

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

    def send_answers(self, number: bytes, answers: Iterable[Answer]) -> None:
        """Write ANSWERS frames: small answers together, large ones each by itself.

        Args:
            number: The batch's, as `frames.encode_number` writes it.

        Raises:
            OSError: the gateway has closed its end.
        """
        together: list[Answer] = []
        size = 0
        for answer in answers:
            size += len(answer.body)
            if together and size > _FRAME_BYTES:
                self._write(frames.encode_answers(number, together))
                together, size = [], len(answer.body)
            together.append(answer)
        self._write(frames.encode_answers(number, together))

    def _write(self, buffers: list[Buffer]) -> None:
        whole = sum(map(len, buffers)) < frames.JOIN_BELOW
        with self._writing:
            if whole:
                self._socket.sendall(b"".join(buffers))
            else:
                for buffer in buffers:
                    self._socket.sendall(buffer)
