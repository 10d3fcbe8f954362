"""The look-up process: MLflow's registry client, kept out of the gateway.

A registry that accepts a connection and never answers, a name server that is silent or a database
driver that waits can hold a thread for as long as they like. A process can be ended. It also
keeps MLflow's import, its memory and its hold on the interpreter lock away from the event loop.

Both ends are here. They exchange one JSON object a line over a socket pair.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from watcher.model_uri import ModelUri
from watcher.versions import ModelVersion, RegistryUnreachable, VersionMissing

DEADLINE_SECONDS = 7.0
# The first process to come from the fork server waits until that has imported what it preloads.
START_DEADLINE_SECONDS = 120.0

# MLflow waits 4 minutes for a refused connection and 20 for a silent one. A poll wants neither;
# the workers, which download models, keep what the user set.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}


class Lookup:
    """Asks the registry what a model URI means, one question at a time.

    Args:
        uri: What to look up.
        context: Where the process is started from.
        environment: Set in the process, above what it inherits.
        deadline: Seconds after which a question counts as unanswered.
    """

    def __init__(
        self,
        uri: ModelUri,
        context: ForkServerContext,
        environment: Mapping[str, str] | None = None,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._uri = uri
        self._context = context
        self._environment = {**(environment or {}), **_PATIENCE}
        self._deadline = deadline
        self._turn = asyncio.Lock()
        self._process: ForkServerProcess | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __call__(self) -> ModelVersion:
        """Ask the registry.

        Raises:
            VersionMissing: the registry answered that there is none.
            RegistryUnreachable: no answer within the deadline, or not one of a Model Registry.
        """
        async with self._turn:
            deadline = START_DEADLINE_SECONDS
            try:
                if self._writer is None:
                    async with asyncio.timeout(deadline):
                        await self._start()
                deadline = self._deadline
                async with asyncio.timeout(deadline):
                    return _read(await self._ask())
            except TimeoutError:
                await self._end()
                raise RegistryUnreachable(f"no answer within {deadline:g} s") from None
            except (OSError, EOFError, ValueError) as error:
                await self._end()
                raise RegistryUnreachable(f"the look-up process failed: {error}") from error
            except asyncio.CancelledError:
                # The answer to this question must not be read as the answer to the next one.
                await self._end()
                raise

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _ask(self) -> dict[str, Any]:
        assert self._writer is not None
        assert self._reader is not None
        self._writer.write(b"?\n")
        await self._writer.drain()
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        process = self._context.Process(
            target=_serve, args=(theirs, self._uri, self._environment), name="registry-lookup"
        )
        # It can't be stopped half-way; a process that did start ends as its channel closes.
        started = asyncio.ensure_future(asyncio.to_thread(process.start))
        try:
            await asyncio.shield(started)
        except BaseException:
            await asyncio.wait([started])
            ours.close()
            raise
        finally:
            theirs.close()
        self._process = process
        self._reader, self._writer = await asyncio.open_connection(sock=ours)

    async def _end(self) -> None:
        process, writer = self._process, self._writer
        self._process = self._reader = self._writer = None
        if writer is not None:
            writer.close()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.join)
            process.close()


def _read(answer: dict[str, Any]) -> ModelVersion:
    match answer:
        case {"version": dict(fields)}:
            return ModelVersion(**fields)
        case {"missing": str(reason)}:
            raise VersionMissing(reason)
        case {"unreachable": str(reason)}:
            raise RegistryUnreachable(reason)
        case _:
            raise ValueError(f"unknown answer {answer}")


def _serve(channel: socket.socket, uri: ModelUri, environment: Mapping[str, str]) -> None:
    """Answer questions until the gateway closes its end. Runs in the look-up process."""
    os.environ.update(environment)
    from watcher.registry import look_up

    with channel, channel.makefile("rb") as questions, contextlib.suppress(BrokenPipeError):
        while questions.readline():
            answer: dict[str, Any]
            try:
                answer = {"version": asdict(look_up(uri))}
            except VersionMissing as error:
                answer = {"missing": str(error)}
            except RegistryUnreachable as error:
                answer = {"unreachable": str(error)}
            channel.sendall(json.dumps(answer).encode() + b"\n")
