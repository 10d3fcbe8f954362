"""Where the demo listens and where it keeps what it makes."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).parent.parent
DATA = REPOSITORY / ".demo"


class BadSetting(Exception):
    """A port that can't be used; the message says why and what to do."""


@dataclass(frozen=True)
class Port:
    """A port of this machine.

    Attributes:
        variable: The environment variable that overrides it.
        number: The port.
    """

    variable: str
    number: int

    @property
    def url(self) -> str:
        """The address for a person to open."""
        return f"http://localhost:{self.number}"


@dataclass(frozen=True)
class Ports:
    """The ports that the demo takes."""

    mlflow: Port
    topics: Port
    sentiments: Port


def read_ports() -> Ports:
    """Read the ports from the environment and see that they are free.

    Raises:
        BadSetting: one isn't a port number, is named twice or is taken.
    """
    ports = Ports(
        mlflow=_read_port("DEMO_MLFLOW_PORT", 5000),
        topics=_read_port("DEMO_TOPIC_PORT", 5001),
        sentiments=_read_port("DEMO_SENTIMENT_PORT", 5002),
    )
    every = (ports.mlflow, ports.topics, ports.sentiments)
    if len({port.number for port in every}) < len(every):
        named = ", ".join(f"{port.variable}={port.number}" for port in every)
        raise BadSetting(f"The ports must differ: {named}.")
    taken = [port for port in every if not _is_free(port.number)]
    if taken:
        raise BadSetting(_taken_message(taken))
    return ports


def _read_port(variable: str, default: int) -> Port:
    text = os.environ.get(variable) or str(default)
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise BadSetting(f"{variable}={text!r}: it takes a port number, 1 to 65535.")
    return Port(variable, int(text))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that connections closed a moment ago don't count as a taker.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _taken_message(ports: list[Port]) -> str:
    taken = [
        f"Port {port.number} is taken. To see by whom: ss -ltnp 'sport = :{port.number}'"
        for port in ports
    ]
    others = " ".join(f"{port.variable}={_another(port.number)}" for port in ports)
    return "\n".join([*taken, f"End that program, or use another port: {others} make demo"])


def _another(port: int) -> int:
    return port + 1000 if port + 1000 <= 65535 else port - 1000
