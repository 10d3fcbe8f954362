"""What runs in a process that loads a version: it forks the workers then, or is one itself."""

import contextlib
import contextvars
import gc
import os
import select
import socket
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from . import landlock, sharing, strict_json
from .channel import Channel
from .conversations import speaks
from .coroutines import thread_begun_by
from .forking import ForkLoop, name_process
from .frames import Kind, decode_number
from .loading import describe, load
from .merging.batching import Predictor
from .process import (
    become_nice,
    end_process,
    end_with_gateway,
    fork_workers_only,
    lead_into,
    make_directory,
    own_process,
    prepare_process,
    report_failure,
    settle_in,
)
from .protocol import Protocol
from .randomness import Seeds, watching_seeds
from .rehearsal.concurrency import Concurrency
from .rehearsal.rehearsal import rehearse
from .rehearsal.warming import answer_once
from .sandbox import Sandbox
from .scratch import look_at_files, what_forbids_sharing
from .serving import Serving
from .spec import WorkerSpec
from .threads.limits import Threads


def run(descriptors: list[int]) -> None:
    """Load the version that the gateway names, say so, and go on until it closes its end.

    Args:
        descriptors: The channel to the gateway, what becomes standard output and error, and the
            channel for `ForkLoop`.
    """
    channel, output, forks = descriptors
    prepare_process(output)
    gateway = Channel(socket.socket(fileno=channel))
    if (told := gateway.receive()) is None:
        return
    spec = WorkerSpec.of(told[1])
    temporary = settle_in(spec.directory)
    # Before there is another thread: each has rights of its own.
    sandbox = Sandbox(spec.sandbox, (spec.directory, *spec.writable), landlock.abi())
    try:
        sandbox.enter()
    except OSError as error:
        report_failure(gateway, error, spec.directory)
        return
    if sandbox.holds:
        lead_into(temporary)
    # Niceness belongs to a thread and, without privileges, can't be lowered again: the thread that
    # serves, or forks those that do, is made before this one becomes nice. This one loads, as only
    # the main thread may set handlers for signals, which some models do.
    threads = Threads(spec.threads)
    second = _Second(gateway, socket.socket(fileno=forks), temporary, threads, sandbox)
    second.start()
    become_nice()
    threads.prepare()
    if not spec.share:
        # Only where workers are forked must that wait until then.
        threads.find()
        threads.limit()
    before = sharing.look()
    try:
        with watching_seeds() as seeds, thread_begun_by(second.begin_thread):
            loaded = _load(gateway, spec, temporary)
    except BaseException as error:  # sys.exit in a model's code, too
        report_failure(gateway, error, spec.directory, explanation=sandbox.explain(error))
        return
    unshared = _why_unshared(spec, before, second) or loaded.unshared
    if unshared is None:
        gc.collect()
        seeds.settle()
        # Else the first collection in each worker would touch, and so copy, every page.
        gc.freeze()
    else:
        name_process("worker")
    second.begin(loaded, seeds, unshared)
    # Real requests are in these, and nobody needs them any more.
    del told, spec
    second.join()


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A model that can serve.

    Attributes:
        predictor: Answers batches with it.
        protocol: The same model's.
        sample: A request that it has answered, if there was one.
        unshared: Why workers must not share its temporary files, if they must not.
        ready: What to say of it to the gateway, see `server.processes.ready.Ready`.
        answers: What it answered to real requests.
        concurrency: How many predictions it may make at a time.
    """

    predictor: Predictor
    protocol: Protocol
    sample: tuple[str, bytes] | None
    unshared: str | None
    ready: dict[str, object]
    answers: list[bytes]
    concurrency: Concurrency


def _load(gateway: Channel, spec: WorkerSpec, temporary: Path) -> _Loaded:
    gateway.send(Kind.PHASE, b"load")
    model = load(spec.path)
    protocol = Protocol(model, hide=spec.directory)
    # Where nothing is shared, neither are these.
    files = look_at_files(temporary) if spec.share else {}
    gateway.send(Kind.PHASE, b"rehearsal")
    rehearsed = rehearse(protocol, model, spec.path, spec, partial(_limit_rehearsal, gateway))
    unshared = what_forbids_sharing(
        files, look_at_files(temporary) if files else {}, asked=rehearsed.requests > 0
    )
    failed = rehearsed.example.failed
    ready = {
        "path": spec.path,
        "model": describe(model, rehearsed.example.body),
        "rehearsed": rehearsed.requests,
        "example_failed": failed and failed.to_json(),
        "replayed": rehearsed.replay.asked,
        "answers_changed": rehearsed.replay.changed,
        "answers_failed": rehearsed.replay.failed,
        "merged_formats": sorted(rehearsed.proof.formats),
        "merging_reason": rehearsed.proof.reason,
        "slots": rehearsed.concurrency.slots,
        "slots_reason": rehearsed.concurrency.reason,
        "waits": rehearsed.concurrency.waits,
        "speaks": speaks(model),
        "streams": protocol.can_stream,
        "replay_skipped": rehearsed.replay_skipped,
    }
    judge = rehearsed.concurrency.judge
    predictor = Predictor(protocol, rehearsed.proof.keys, rehearsed.proof.sizes, judge)
    return _Loaded(
        predictor,
        protocol,
        rehearsed.sample,
        unshared,
        ready,
        rehearsed.replay.answers,
        rehearsed.concurrency,
    )


def _limit_rehearsal(gateway: Channel, seconds: float | None) -> None:
    """Have the gateway, which no model can hold up, see to it that what follows does not hang."""
    gateway.send(Kind.PHASE, b"rehearsal", *([b"%g" % seconds] if seconds is not None else []))


def _why_unshared(spec: WorkerSpec, before: sharing.Footprint, second: "_Second") -> str | None:
    if not spec.share:
        return "not asked for"
    threads = [thread.native_id for thread in (threading.main_thread(), second)]
    return sharing.what_forbids_forking(before, threads=[t for t in threads if t is not None])


class _Second(threading.Thread):
    """The thread that is never nice. While the main one loads, it begins those that are not to be
    so either, and looks whether the gateway is still there; then it serves, or forks the workers.

    A worker that it forks has this thread alone, and Python takes it for the main one.
    """

    def __init__(
        self,
        gateway: Channel,
        forks: socket.socket,
        temporary: Path,
        threads: Threads,
        sandbox: Sandbox,
    ) -> None:
        super().__init__(name="serving", daemon=True)
        self._gateway = gateway
        self._forks = forks
        self._temporary = temporary
        self._threads = threads
        self._sandbox = sandbox
        # Threads to begin; None when all is loaded. Each is told of by one count.
        self._tasks: SimpleQueue[threading.Thread | None] = SimpleQueue()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._loaded: _Loaded | None = None
        self._seeds: Seeds | None = None
        self._unshared: str | None = None

    def begin_thread(self, thread: threading.Thread) -> None:
        """Begin a thread that is not to be nice, while a model is loaded."""
        self._tell(thread)

    def begin(self, loaded: _Loaded, seeds: Seeds, unshared: str | None) -> None:
        """Hand over the loaded model.

        Args:
            unshared: Why workers can't be forked from this process, if they can't.
        """
        self._loaded, self._seeds, self._unshared = loaded, seeds, unshared
        self._threads.find()
        self._tell(None)

    def _tell(self, task: threading.Thread | None) -> None:
        self._tasks.put(task)
        os.eventfd_write(self._told, 1)

    def _wait(self) -> None:
        """Do what is to be done until all is loaded."""
        poll = select.poll()
        poll.register(self._gateway.fileno(), 0)
        poll.register(self._told, select.POLLIN)
        while True:
            if self._told not in [descriptor for descriptor, _ in poll.poll()]:
                end_process()
            os.eventfd_read(self._told)
            if (thread := self._tasks.get()) is None:
                break
            thread.start()
        os.close(self._told)

    def run(self) -> None:
        self._wait()
        assert self._loaded is not None
        found = {"unshared": self._unshared, "sandbox": self._sandbox.describe()}
        ready = strict_json.dumps({**self._loaded.ready, **found})
        # The gateway may end at any time.
        with contextlib.suppress(OSError):
            if self._unshared is None:
                self._fork_workers(ready)
            else:
                self._forks.close()
                end_with_gateway(self._gateway)
                self._threads.limit()
                self._gateway.send(Kind.READY, ready, *self._loaded.answers)
                self._serve(self._gateway, self._loaded.concurrency.slots)

    def _fork_workers(self, ready: bytes) -> None:
        assert self._loaded is not None
        fork_workers_only()
        self._gateway.send(Kind.READY, ready, *self._loaded.answers)
        ForkLoop(self._forks, self._be_worker, close=self._gateway.close).run()

    def _be_worker(self, _target: str, descriptors: list[int]) -> None:
        assert self._loaded is not None
        assert self._seeds is not None
        channel, output = descriptors
        own_process(output)
        make_directory(self._temporary)
        # Towards the process that it comes from, and those that have come from that.
        self._sandbox.enter()
        self._seeds.renew()
        gateway = Channel(socket.socket(fileno=channel))
        if (told := gateway.receive()) is None:
            return
        end_with_gateway(gateway)
        self._threads.limit()
        warm, slots = told[1]
        if warm and self._loaded.sample is not None and not self._seeds.kept:
            sample = self._loaded.protocol, *self._loaded.sample
            contextvars.copy_context().run(answer_once, *sample)
        with contextlib.suppress(OSError):
            gateway.send(Kind.READY)
            self._serve(gateway, decode_number(slots))

    def _serve(self, gateway: Channel, slots: int) -> None:
        assert self._loaded is not None
        Serving(
            gateway,
            self._loaded.predictor,
            slots=slots,
            streams=self._loaded.protocol.can_stream,
            prepare=self._threads.limit,
        ).run()
