"""Secrets that clients show as bearer tokens (RFC 6750, section 2.1)."""

import asyncio
import hmac
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

from aiohttp import hdrs, web
from pydantic import SecretStr

from server.http.errors import error_response
from server.redaction import hide_token


class Token:
    """A secret that the environment or a file holds. A file may change; while it can't be read,
    nobody has the secret.

    Attributes:
        asked_for: Whether there is one.

    Args:
        name: What to call it, such as `api_key`.
        value: The secret, where the environment holds it.
        file: Where it is, if a file holds it.
        tell: Called when the file has come to be unreadable.
        fresh_seconds: How long what was read of the file is taken for what it holds.
    """

    def __init__(
        self,
        name: str,
        value: SecretStr | None,
        file: Path | None,
        tell: Callable[[Exception], None],
        fresh_seconds: float = 0.0,
    ) -> None:
        self.asked_for = value is not None or file is not None
        self._name = name
        self._file = file
        self._tell = tell
        self._fresh_seconds = fresh_seconds
        self._fresh_until = math.inf if file is None else -math.inf
        self._secret = value.get_secret_value().encode() if value is not None else b""
        self._reading: asyncio.Task[None] | None = None
        self._unreadable = False

    def is_known_in(self, headers: Mapping[str, str]) -> bool:
        """Whether these headers have it, as far as that is known without a look at the file."""
        return monotonic() < self._fresh_until and self._is_in(headers)

    async def is_in(self, headers: Mapping[str, str]) -> bool:
        """Whether these headers have it: `Authorization: Bearer SECRET`."""
        if self._file is not None and monotonic() >= self._fresh_until:
            # Who comes meanwhile shares it, and who leaves does not take it along.
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(self._file))
            await asyncio.shield(self._reading)
        return self._is_in(headers)

    def _is_in(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        # Headers hold any bytes; a file that is empty for the moment must not let everyone in.
        sent = given.strip().encode("utf-8", "surrogateescape")
        correct = hmac.compare_digest(sent, self._secret) and self._secret != b""
        return correct and scheme.lower() == "bearer"

    async def _read(self, file: Path) -> None:
        secret = ""
        try:
            secret = (await asyncio.to_thread(file.read_text)).strip()
        except (OSError, ValueError) as error:
            if not self._unreadable:
                self._tell(error)
            self._unreadable = True
        else:
            self._unreadable = False
            hide_token(secret, self._name)
        self._secret = secret.encode()
        self._fresh_until = monotonic() + self._fresh_seconds
        self._reading = None


def ask_for(what: str) -> web.Response:
    """The answer to a request that has not shown a secret.

    Args:
        what: The secret, such as `the API key`.
    """
    return error_response(
        401,
        f"send {what}: Authorization: Bearer {what.split()[-1].upper()}",
        headers={hdrs.WWW_AUTHENTICATE: "Bearer"},
    )
