"""A client of HTTP that keeps to none of its rules."""

import socket

from tests.support.server import Server


class Client:
    """A connection that sends whatever bytes it is told to."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send, as far as the server still reads."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def post(self, body: bytes, *headers: str, length: int | None = None) -> None:
        """Send a request to /invocations with a Content-Length of `length`, or the true one."""
        head = [
            "POST /invocations HTTP/1.1",
            "Host: test",
            "Content-Type: application/json",
            f"Content-Length: {len(body) if length is None else length}",
            *headers,
        ]
        self.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    def answer(self) -> tuple[int, bytes]:
        """Read one answer: its status, 0 if the connection is closed without one, and body."""
        data = b""
        try:
            while b"\r\n\r\n" not in data:
                piece = self.socket.recv(65536)
                if not piece:
                    return 0, data
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            lengths = [
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ]
            while len(body) < lengths[0]:
                body += self.socket.recv(65536)
        except ConnectionResetError:
            return 0, data
        return int(head.split()[1]), body

    def closed(self) -> bool:
        """Whether the server has closed the connection, waiting for it if need be."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
