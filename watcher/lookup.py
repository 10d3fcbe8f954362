"""The look-up process: MLflow's registry client, kept out of the gateway.

A registry that accepts a connection and never answers, a name server that is silent or a database
driver that waits can hold a thread for as long as they like. A process can be ended. It also
keeps MLflow's import, its memory and its hold on the interpreter lock away from the event loop.

Both ends are here. They exchange one JSON object a line over a socket pair.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Mapping
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from watcher.model_uri import ModelUri, parse_model_uri
from watcher.versions import ModelVersion, RegistryUnreachable, VersionMissing, VersionPending

# Whoever asks for a swap is answered within 15 s, even if a silent registry is asked four questions
# before: the one under way, that of the swap before, a poll's just after that, and the swap's own.
DEADLINE_SECONDS = 3.5
# The first process waits until the one that it is forked from has imported what it preloads.
START_DEADLINE_SECONDS = 120.0

# MLflow waits 4 minutes for a refused connection and 20 for a silent one. A poll wants neither;
# the workers, which download models, keep what the user set.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}

T = TypeVar("T")


class Process(Protocol):
    """A process that was forked."""

    def kill(self) -> None:
        """End it at once."""


class Forked(Protocol):
    """A new process, and this end of its socket pair."""

    @property
    def child(self) -> Process: ...

    @property
    def channel(self) -> socket.socket: ...


class Fork(Protocol):
    """Forks a process of this name that runs `MODULE:FUNCTION` with the descriptor of its end of a
    socket pair; it ends when this end is closed."""

    async def __call__(self, name: str, target: str) -> Forked: ...


class Lookup:
    """Asks the registry what a model URI means, one question at a time.

    Args:
        uri: What to look up.
        fork: Starts the look-up process.
        environment: Set in the process, above what it inherits.
        deadline: Seconds after which a question counts as unanswered.
        allow_local_sources: See `watcher.registry.look_up`.
    """

    def __init__(
        self,
        uri: ModelUri,
        fork: Fork,
        environment: Mapping[str, str] | None = None,
        deadline: float = DEADLINE_SECONDS,
        *,
        allow_local_sources: bool = False,
    ) -> None:
        self._uri = uri
        self._fork = fork
        self._environment = {**(environment or {}), **_PATIENCE}
        self._deadline = deadline
        self._allow_local_sources = allow_local_sources
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[ModelVersion] | None = None
        self._questions: set[asyncio.Task[ModelVersion]] = set()
        self._process: Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __call__(self) -> ModelVersion:
        """Ask the registry.

        Callers that come while a question is under way share the next one: each one's answer is to
        a question that was put after it called, and nobody waits for more than two.

        Raises:
            VersionMissing: the registry answered that there is none.
            VersionPending: it is not registered yet.
            RegistryUnreachable: no answer within the deadline, or not one of a Model Registry.
        """
        question = self._next
        if question is None:
            question = self._next = asyncio.get_running_loop().create_task(self._when_free())
            question.add_done_callback(self._done)
            self._questions.add(question)
        # Whoever is cancelled here leaves the question to the others. Its answer is read even if
        # nobody is left, or it would be read as the answer to the next one.
        await asyncio.wait([question])
        return question.result()

    async def close(self) -> None:
        """End the process. Questions that are still open are cancelled."""
        for question in self._questions:
            question.cancel()
        await asyncio.gather(*self._questions, return_exceptions=True)
        self._next = None
        await self._end()

    def _done(self, question: asyncio.Task[ModelVersion]) -> None:
        self._questions.discard(question)
        if not question.cancelled():
            # Those who asked may have gone; asyncio would complain that nobody took its error.
            question.exception()

    async def _when_free(self) -> ModelVersion:
        async with self._turn:
            try:
                if self._writer is None:
                    await self._within(START_DEADLINE_SECONDS, self._start())
            finally:
                # Who calls from here on needs a question that is put later.
                self._next = None
            return await self._within(self._deadline, self._ask())

    async def _within(self, seconds: float, step: Awaitable[T]) -> T:
        """Take a step with the process, and end the process if anything but an answer comes."""
        try:
            async with asyncio.timeout(seconds):
                return await step
        except TimeoutError:
            await self._end()
            raise RegistryUnreachable(f"no answer within {seconds:g} s") from None
        except (OSError, EOFError, ValueError) as error:
            await self._end()
            raise RegistryUnreachable(
                f"the look-up process failed: {error}", "the server's log says why"
            ) from error
        except asyncio.CancelledError:
            await self._end()
            raise

    async def _ask(self) -> ModelVersion:
        assert self._writer is not None
        assert self._reader is not None
        self._writer.write(b"?\n")
        await self._writer.drain()
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ended")
        return _read(json.loads(line))

    async def _start(self) -> None:
        forked = await self._fork("lookup", "watcher.lookup:serve")
        self._process = forked.child
        self._reader, self._writer = await asyncio.open_connection(sock=forked.channel)
        told = {
            "uri": self._uri.text,
            "environment": self._environment,
            "allow_local_sources": self._allow_local_sources,
        }
        self._writer.write(json.dumps(told).encode() + b"\n")

    async def _end(self) -> None:
        process, writer = self._process, self._writer
        self._process = self._reader = self._writer = None
        if writer is not None:
            writer.close()
        if process is not None:
            process.kill()


def _read(answer: dict[str, Any]) -> ModelVersion:
    match answer:
        case {"version": dict(fields)}:
            return ModelVersion(**fields)
        case {"missing": str(reason), "public": str(public)}:
            raise VersionMissing(reason, public)
        case {"pending": str(reason)}:
            raise VersionPending(reason)
        case {"unreachable": str(reason), "public": str(public)}:
            raise RegistryUnreachable(reason, public)
        case _:
            raise ValueError(f"unknown answer {answer}")


def serve(descriptors: list[int]) -> None:
    """Answer questions until the gateway closes its end. Runs in the look-up process."""
    (descriptor,) = descriptors
    # What is said of each poll is worth nothing to anyone.
    logging.getLogger().setLevel(logging.WARNING)
    from watcher.registry import look_up

    channel = socket.socket(fileno=descriptor)
    with channel, channel.makefile("rb") as questions, contextlib.suppress(BrokenPipeError):
        if not (told := questions.readline()):
            return
        first = json.loads(told)
        os.environ.update(first["environment"])
        uri = parse_model_uri(first["uri"])
        allow_local_sources: bool = first["allow_local_sources"]
        while questions.readline():
            answer: dict[str, Any]
            try:
                answer = {"version": asdict(look_up(uri, allow_local_sources=allow_local_sources))}
            except VersionMissing as error:
                answer = {"missing": str(error), "public": error.public}
            except VersionPending as error:
                answer = {"pending": str(error)}
            except RegistryUnreachable as error:
                answer = {"unreachable": str(error), "public": error.public}
            channel.sendall(json.dumps(answer).encode() + b"\n")
