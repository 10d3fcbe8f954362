"""What a request is known by when it comes again."""

import asyncio
import contextvars
import hashlib
from collections.abc import Callable

from server.serving.calls import Call

# The digest of a larger body is taken beside the loop, which it would hold up.
_LARGE_BODY = 64 * 1024


def digest_of(content_type: bytes, body: bytes) -> bytes:
    """What a request is remembered by: all that the model gets to see of it."""
    # No header has a line break in it.
    digest = hashlib.sha256(content_type + b"\n")
    digest.update(body)
    return digest.digest()


class Digester:
    """Takes the digests of calls: of small ones at once, of large ones in a thread.

    Attributes:
        calls: Those whose digest is being taken in a thread.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def digest(self, call: Call, then: Callable[[bytes], None]) -> None:
        """Call `then` with a call's digest."""
        if len(call.body) <= _LARGE_BODY:
            then(digest_of(call.content_type, call.body))
            return
        self.calls.append(call)
        # A context of its own: what comes of it may concern other requests.
        task = self._loop.create_task(self._digest_aside(call, then), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Take what is being taken no further."""
        for task in self._tasks:
            task.cancel()

    async def _digest_aside(self, call: Call, then: Callable[[bytes], None]) -> None:
        try:
            digest = await asyncio.to_thread(digest_of, call.content_type, call.body)
        finally:
            self.calls.remove(call)
        then(digest)
