"""The gateway's handle on a process that deals with one model version."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import orjson
import structlog

from server.errors import LoadFailed
from server.processes.child import Child
from server.processes.exits import describe_exit, exit_fields
from server.processes.forker import LOOK_SECONDS, Forked, is_stopped
from server.processes.frame_reader import FrameReader
from server.processes.output import OutputPipe
from server.worker import frames
from server.worker.frames import Kind

# What a process gets to end by itself after its channel was closed; it takes 2 s itself.
_EXIT_SECONDS = 4.0
# How often it may say what it does; it does so a few times.
_MOST_PHASES = 16
_PHASES = ("load", "rehearsal")
_LONGEST_PHASE_SECONDS = 86400.0
# In characters. What is longer, the model's code has made so, or has written itself.
_LONGEST_ERROR = 2000
_LONGEST_TRACEBACK = 256 * 1024
# What it has said before it ended is there already, unless somebody else holds its end.
_LAST_WORDS_SECONDS = 1.0
# Looks in a row at which one that is to become ready is found stopped: whoever traces it, as strace
# does, stops it for moments.
_STOPPED_LOOKS = 4

log = structlog.get_logger("server.processes.model_process")


class Source(Protocol):
    """A process that forks others: `Environment`, `Flavor`, or a release's template."""

    async def fork(
        self, name: str, target: str, output: int | None = None, *, forks: bool = False
    ) -> Forked:
        """See `server.processes.forker.Forker.fork`."""

    def end_orphans(self) -> None:
        """See `server.processes.environment.Environment.end_orphans`."""


class Deadline:
    """When something must be done.

    Attributes:
        seconds: What there was in all, from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._due - self._loop.time())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done meanwhile takes nothing of it."""
        began = self._loop.time()
        try:
            yield
        finally:
            self._due += self._loop.time() - began


class ModelProcess(asyncio.Protocol):
    """One process and the socket pair to it.

    Verbs in the order in which they are called: `start`, `begin`, `wait_ready`, and `stop`.

    Args:
        version: The version that it deals with, for the log.
        phase: What it does first, for the error if it fails.

    Attributes:
        pid: Its number; 0 before it runs.
        forks: The channel by which it may fork in turn, if it was asked for.
        is_template: Whether it forks workers, rather than being one; for the log.
    """

    def __init__(self, version: str, phase: str = "start") -> None:
        self.version = version
        self.pid = 0
        self.forks: socket.socket | None = None
        self.is_template = False
        self._phase = phase
        self._phases = 0
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[list[memoryview]] = self._loop.create_future()
        self._phase_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._killed = False
        self._lost = False
        self._child: Child | None = None
        self._transport: asyncio.Transport | None = None
        self._channel_closed = asyncio.Event()
        self._output: OutputPipe | None = None
        self._frames = FrameReader()
        self._source: Source | None = None
        self._wound_up: asyncio.Task[None] | None = None

    async def start(self, source: Source, name: str, target: str, *, forks: bool = False) -> None:
        """Start the process.

        Args:
            source: What forks it.
            name: What `ps` shows.
            target: What it runs, as `MODULE:FUNCTION`.
            forks: Whether it may fork in turn.

        Raises:
            LoadFailed: the machine would not start one.
        """
        try:
            with contextlib.ExitStack() as undo:
                output = OutputPipe(version=self.version)
                undo.callback(output.close)
                forked = await source.fork(name, target, output.writable, forks=forks)
                undo.pop_all()
            output.close_writable()
            self._source = source
            self._output = output
            self._child = forked.child
            self.pid = forked.child.pid
            self.forks = forked.forks
            output.bind(pid=self.pid)
            output.start()
            forked.child.when_ended(self._process_ended)
            with contextlib.ExitStack() as undo:
                undo.callback(forked.channel.close)
                self._transport, _ = await self._loop.create_connection(
                    lambda: self, sock=forked.channel
                )
                undo.pop_all()
        except OSError as error:
            # By its errno: the text may name a path of this machine.
            reason = os.strerror(error.errno) if error.errno else error
            raise LoadFailed("start", f"no process can be started: {reason}") from error

    def close_forks(self) -> None:
        """Have it fork nothing; it may not care."""
        if self.forks is not None:
            self.forks.close()
            self.forks = None

    def begin(self, parts: Sequence[bytes]) -> None:
        """Tell it what to do, see `server.worker.spec`."""
        assert self._transport is not None
        # Of one that has ended by now, `wait_ready` tells.
        if not self._transport.is_closing():
            self._send(Kind.START, parts)

    async def wait_ready(self, deadline: Deadline) -> list[memoryview]:
        """Wait until it is ready, and return what it says then.

        Raises:
            LoadFailed: it failed, the process ended or was stopped, or it is not ready in time.
        """
        stopped = 0
        while not self._ready.done():
            if not deadline.left:
                raise LoadFailed(self._phase, f"not done after {deadline.seconds:g} s")
            if stopped == _STOPPED_LOOKS:
                raise LoadFailed(self._phase, "the process was stopped")
            await asyncio.wait([self._ready], timeout=min(LOOK_SECONDS, deadline.left))
            stopped = stopped + 1 if is_stopped(self.pid) else 0
        said = self._ready.result()
        if self._lost:
            # In the same turn of the loop as it said so; nobody may be sent to it.
            raise LoadFailed(self._phase, "the worker process ended as soon as it was ready")
        return said

    async def stop(self) -> None:
        """Let the process end by itself, and make it end if it does not."""
        self._stopping = True
        if self._transport is not None:
            self._transport.close()
        self.close_forks()
        if self._child is None:
            return
        await asyncio.wait([self._child.ended], timeout=_EXIT_SECONDS)
        self.kill()
        await self.wait_ended()

    async def wait_ended(self) -> None:
        """Wait until the process, which has been started, has ended, and all it said is logged."""
        assert self._child is not None
        await self._child.ended
        if self._wound_up is not None:
            await self._wound_up

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        if self._child is not None and not self._child.ended.done():
            self._killed = True
            self._child.kill()

    def data_received(self, data: bytes) -> None:
        if self._killed:
            # Whom it might still answer has been told otherwise.
            return
        try:
            for frame in self._frames.feed(data):
                self._handle(*frame)
        except Exception as error:
            # The model's code may have written these bytes: they may be wrong in any way.
            reason = f"{type(error).__name__}: {error}"
            log.error("worker_protocol_error", version=self.version, pid=self.pid, error=reason)
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel_closed.set()
        # Whatever it does without a channel to the gateway, nobody can ask it any more.
        if not self._stopping:
            self.kill()
            self._lose()

    def _send(self, kind: Kind, parts: Sequence[bytes]) -> None:
        assert self._transport is not None
        # What answers this has a part for each request, which has three.
        self._frames.most_parts = max(self._frames.most_parts, len(parts))
        buffers = frames.encode(kind, parts)
        if sum(map(len, buffers)) < frames.JOIN_BELOW:
            self._transport.write(b"".join(buffers))
        else:
            # Without a copy, under uvloop.
            self._transport.writelines(buffers)

    def _handle(self, kind: Kind, parts: list[memoryview]) -> None:
        if kind not in (Kind.PHASE, Kind.READY, Kind.FAILED):
            raise ValueError(f"{kind.name} is not for it to say")
        if self._ready.done():
            if self._ready.exception() is None:
                raise ValueError(f"{kind.name} after it was ready")
            return
        if kind is Kind.PHASE:
            self._phases += 1
            phase = str(parts[0], "utf-8")
            if phase not in _PHASES or self._phases > _MOST_PHASES:
                raise ValueError("a phase that there is not")
            self._phase = phase
            self._limit_phase(*parts[1:])
        elif kind is Kind.READY:
            self._limit_phase()
            self._ready.set_result(parts)
        else:
            report = orjson.loads(parts[0])
            error, traceback = str(report["error"]), str(report["exception"])
            public = report.get("public")
            self._fail(
                error[:_LONGEST_ERROR],
                {"exception": traceback[-_LONGEST_TRACEBACK:]},
                None if public is None else str(public)[:_LONGEST_ERROR],
            )

    def _limit_phase(self, written: memoryview | None = None) -> None:
        """End what has begun after so many seconds, or do not any more."""
        if self._phase_timer is not None:
            self._phase_timer.cancel()
            self._phase_timer = None
        if written is not None:
            seconds = float(str(written, "ascii"))
            if not 0 < seconds <= _LONGEST_PHASE_SECONDS:
                raise ValueError("no time that a phase may take")
            self._phase_timer = self._loop.call_later(
                seconds, self._fail, f"requests not answered within {seconds:g} s"
            )

    def _fail(
        self, error: str, details: dict[str, Any] | None = None, public: str | None = None
    ) -> None:
        self._limit_phase()
        if not self._ready.done():
            self._ready.set_exception(LoadFailed(self._phase, error, details, public))
            # Retrieved here: the caller may have given up waiting.
            self._ready.exception()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._note_loss()

    def _note_loss(self) -> None:
        """What a loss means; called once."""

    def _process_ended(self) -> None:
        assert self._child is not None
        # What the model started and left running ends with it.
        self._child.end_group()
        if not self._stopping:
            self._lose()
        self._wound_up = self._loop.create_task(self._wind_up(self._child))

    async def _wind_up(self, child: Child) -> None:
        code = await child.exit_code()
        # What it has said last may tell why.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._channel_closed.wait()
        # What it held may be answered elsewhere by now, and the rest of its release stopped.
        stopped = self._stopping and not self._lost
        expected = stopped or (self._ready.done() and self._ready.exception() is not None)
        if not expected:
            fields = {"version": self.version, "pid": self.pid, **exit_fields(code)}
            if self.is_template:
                log.warning("template_exited", **fields)
            else:
                log.warning("worker_exited", **fields)
        self._fail(f"the worker process ended: {describe_exit(code)}")
        if self._transport is not None:
            self._transport.close()
        self.close_forks()
        assert self._output is not None
        self._output.finish()
        # Also of one that ends in good order: what a model does at its end may keep it from ending
        # its children.
        assert self._source is not None
        try:
            await self._loop.run_in_executor(None, self._source.end_orphans)
        except OSError as error:
            # Out of descriptors, say. They are looked for again when the next process ends.
            log.warning("orphans_not_ended", error=str(error))
