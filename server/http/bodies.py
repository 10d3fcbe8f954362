"""Reading the bodies of requests, bounded in size, in time, and in what they all hold together."""

import asyncio
from io import BytesIO

from aiohttp import ClientPayloadError, web

from server.http.budget import Budget, Hold
from server.http.connection import Connection
from server.http.unpacking import Unpacker, codings_of


class Bodies:
    """Reads bodies.

    Args:
        budget: What they take of memory.
        largest: Most bytes that one may have, as it is sent and unpacked.
        seconds: What one may take to arrive.
    """

    def __init__(self, budget: Budget, largest: int, seconds: float) -> None:
        self._budget = budget
        self._largest = largest
        self._seconds = seconds
        self._unpacker = Unpacker(largest)

    async def read(self, request: web.BaseRequest) -> tuple[bytes, Hold]:
        """Read a whole body, unpack it, and return it with what it holds of the budget.

        Raises:
            TooMuchInFlight: there is no room for it, or no more for what comes of it.
            HTTPException: 413 if it is too large, 408 if it does not arrive in time or comes too
                slowly, 400 if it breaks off or is not packed as it says, 415 if that can't be
                unpacked.
        """
        codings = codings_of(request.headers)
        declared = request.content_length or 0
        if declared > self._largest:
            raise web.HTTPRequestEntityTooLarge(self._largest)
        connection = request.protocol
        assert isinstance(connection, Connection)
        # What is declared takes nothing: it may never come.
        self._budget.check(declared, connection.buffered)
        hold = self._budget.hold()
        body = await self._receive(request, connection, hold)
        if codings:
            body = await self._unpacker.unpack(body, codings, hold)
        return body, hold

    async def _receive(self, request: web.BaseRequest, connection: Connection, hold: Hold) -> bytes:
        limits = connection.limits
        # It gives out what was written to it without a copy.
        body = BytesIO()
        size = 0
        began = asyncio.get_running_loop().time()
        patience = limits.body_grace_seconds
        try:
            async with asyncio.timeout_at(began + min(patience, self._seconds)) as timeout:
                while piece := await request.content.readany():
                    connection.body_read(len(piece))
                    size += len(piece)
                    if size > self._largest:
                        raise web.HTTPRequestEntityTooLarge(self._largest)
                    hold.resize(size)
                    body.write(piece)
                    enough = size / limits.body_bytes_per_second
                    if enough > patience:
                        patience = enough
                        timeout.reschedule(began + min(patience, self._seconds))
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        except (web.RequestPayloadError, ClientPayloadError, ConnectionError) as error:
            raise web.HTTPBadRequest(reason="the body can't be read") from error
        return body.getvalue()
