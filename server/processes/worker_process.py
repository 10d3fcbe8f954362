"""The gateway's handle on one worker process."""

import asyncio
import contextlib
import enum
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from typing import Any

import orjson
import structlog

from server.errors import LoadFailed
from server.processes.exits import describe_exit, exit_fields
from server.processes.forkserver import ForkServer
from server.processes.frame_reader import FrameReader
from server.processes.output import OutputPipe
from server.processes.ready import Ready
from server.worker import entry, frames
from server.worker.frames import Answer, Kind
from server.worker.spec import WorkerSpec

# What a worker gets to end by itself after its channel was closed; it takes 2 s itself.
_EXIT_SECONDS = 4.0

log = structlog.get_logger("server.processes.worker_process")


class State(enum.StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDED = "ended"


class WorkerProcess(asyncio.Protocol):
    """One worker process and the socket pair to it.

    Verbs in the order in which they are called: `start`, `ready`, then `send`, and `stop`.

    Args:
        version: The version that it is to serve, for the log.
        on_answers: Called with what the worker answered of the batch that it holds.
        on_done: Called when it has answered all of a batch. The argument says whether it may get
            merged batches from now on.
        on_lost: Called once when the worker is lost after it was ready.
    """

    def __init__(
        self,
        version: str,
        on_answers: Callable[["WorkerProcess", list[Answer]], None],
        on_done: Callable[["WorkerProcess", bool], None],
        on_lost: Callable[["WorkerProcess"], None],
    ) -> None:
        self.version = version
        self.state = State.STARTING
        self.pid = 0
        self._on_answers = on_answers
        self._on_done = on_done
        self._on_lost = on_lost
        self._phase = "start"
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self._held = 0
        self._stopping = False
        self._killed = False
        self._process: ForkServerProcess | None = None
        self._transport: asyncio.Transport | None = None
        self._output: OutputPipe | None = None
        self._frames = FrameReader()
        self._fork_server: ForkServer | None = None
        self._exit: asyncio.Future[object] = self._loop.create_future()

    async def start(self, fork_server: ForkServer, spec: WorkerSpec) -> None:
        """Start the process.

        Raises:
            LoadFailed: the machine would not start one.
        """
        try:
            with contextlib.ExitStack() as undo:
                output = OutputPipe(version=self.version)
                undo.callback(output.close)
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                with theirs:
                    process = await self._start_process(fork_server, theirs, output, spec)
                undo.pop_all()
            output.close_writable()
            self._process = process
            self._output = output
            self._fork_server = fork_server
            self.pid = process.pid or 0
            output.bind(pid=self.pid)
            output.start()
            self._loop.add_reader(process.sentinel, self._process_ended)
            self._transport, _ = await self._loop.create_connection(lambda: self, sock=ours)
        except (OSError, EOFError) as error:
            # By its errno: the text may name a path of this machine.
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
            raise LoadFailed("start", f"no process can be started: {reason or error}") from error

    async def _start_process(
        self, fork_server: ForkServer, channel: socket.socket, output: OutputPipe, spec: WorkerSpec
    ) -> ForkServerProcess:
        # Blocks until the fork server has forked; it can't be stopped half-way.
        started = asyncio.ensure_future(
            asyncio.to_thread(
                fork_server.start_process,
                entry.run,
                (channel, output.writable, spec),
                f"worker-{self.version}",
            )
        )
        try:
            return await asyncio.shield(started)
        except BaseException:
            # A process that did start ends by itself, as its channel will have been closed.
            await asyncio.wait([started])
            raise

    async def ready(self, timeout: float) -> Ready:
        """Wait until the model is loaded and rehearsed.

        Raises:
            LoadFailed: it failed, the process ended, or `timeout` seconds have passed.
        """
        await asyncio.wait([self._ready], timeout=timeout)
        if not self._ready.done():
            raise LoadFailed(self._phase, f"not done after {timeout:g} s")
        ready = self._ready.result()
        if self.state is State.ENDED:
            # In the same turn of the loop as it said so; nobody may be sent to it.
            raise LoadFailed(self._phase, "the worker process ended as soon as it was ready")
        self.state = State.IDLE
        return ready

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a batch: content type, request id and body of each request. One that holds a batch
        already begins with this one as soon as it has answered that."""
        assert self.state in (State.IDLE, State.BUSY)
        assert self._transport is not None
        self.state = State.BUSY
        self._held += 1
        self._transport.write(b"".join(frames.encode(Kind.PREDICT, parts)))

    async def stop(self) -> None:
        """Let the process end by itself, and make it end if it does not."""
        self._stopping = True
        self.state = State.ENDED
        if self._transport is not None:
            self._transport.close()
        if self._process is None:
            return
        await asyncio.wait([self._exit], timeout=_EXIT_SECONDS)
        if not self._exit.done():
            self.kill()
            await asyncio.wait([self._exit])

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        if self.pid == 0 or self._exit.done():
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # The group exists only once the worker has begun to run.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

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
        # Whatever it does without a channel to the gateway, nobody can ask it any more.
        if not self._stopping:
            self.kill()
            self._lose()

    def _handle(self, kind: Kind, parts: list[memoryview]) -> None:
        if kind is Kind.ANSWERS:
            self._on_answers(self, frames.decode_answers(parts))
        elif kind is Kind.DONE:
            if self.state is State.BUSY:
                self._held -= 1
                if self._held == 0:
                    self.state = State.IDLE
                self._on_done(self, not parts[0])
        elif kind is Kind.PHASE:
            self._phase = str(parts[0], "utf-8")
        elif kind is Kind.READY:
            self._ready.set_result(Ready.of(parts))
        elif kind is Kind.FAILED:
            report = orjson.loads(parts[0])
            self._fail(report["error"], {"exception": report["exception"]})

    def _fail(self, error: str, details: dict[str, Any] | None = None) -> None:
        if not self._ready.done():
            self._ready.set_exception(LoadFailed(self._phase, error, details))
            # Retrieved here: the caller may have given up waiting.
            self._ready.exception()

    def _lose(self) -> None:
        was_serving = self.state in (State.IDLE, State.BUSY)
        self.state = State.ENDED
        if was_serving:
            self._on_lost(self)

    def _process_ended(self) -> None:
        assert self._process is not None
        self._loop.remove_reader(self._process.sentinel)
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        # What the model started and left running ends with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        expected = self._stopping or (self._ready.done() and self._ready.exception() is not None)
        if not expected:
            log.warning("worker_exited", version=self.version, pid=self.pid, **exit_fields(code))
        self._fail(f"the worker process ended: {describe_exit(code)}")
        self._lose()
        if self._transport is not None:
            self._transport.close()
        assert self._output is not None
        self._output.finish()
        if expected and code == 0:
            # It ended what it had started itself, and looking for that costs time.
            self._exit.set_result(None)
            return
        assert self._fork_server is not None
        orphans = self._loop.run_in_executor(None, self._fork_server.end_orphans)
        orphans.add_done_callback(self._exit.set_result)
