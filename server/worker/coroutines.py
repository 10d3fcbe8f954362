"""Models written as coroutines: awaited on one event loop for the whole process, so that the
clients and pools that they keep, which belong to the loop that they were first used on, go on
working from one request to the next."""

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Any

from .cancellation import CURRENT

# Where MLflow's wrappers keep the models whose answers they look into: mlflow/pyfunc/loaders/.
_RAW_MODELS = ("chat_model", "chat_agent", "responses_agent")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_begin: Callable[[threading.Thread], None] = threading.Thread.start


def is_async(implementation: object) -> bool:
    """Whether a model's `predict` is a coroutine function.

    Args:
        implementation: What MLflow has loaded, `PyFuncModel._model_impl`.
    """
    raw: Any = getattr(implementation, "python_model", None) or _raw(implementation)
    # One that is a mere function is kept in `func`: mlflow/pyfunc/model.py, `_FunctionPythonModel`.
    functions = (getattr(raw, "func", None), getattr(raw, "predict", None))
    return any(inspect.iscoroutinefunction(inspect.unwrap(f)) for f in functions if callable(f))


def _raw(implementation: object) -> Any:
    return next(filter(None, (getattr(implementation, n, None) for n in _RAW_MODELS)), None)


def make_synchronous(implementation: object) -> None:
    """Have MLflow's wrappers get what a model's coroutines return, rather than these.

    Args:
        implementation: What MLflow has loaded, `PyFuncModel._model_impl`.
    """
    for name in _RAW_MODELS:
        if (raw := getattr(implementation, name, None)) is not None:
            setattr(implementation, name, _Synchronous(raw))


class _Synchronous:
    """A model as others are to see it; its own code calls its coroutines as such."""

    def __init__(self, model: object) -> None:
        self._model = model
        for name in ("predict", "predict_stream"):
            function: Any = getattr(model, name, None)
            kind = inspect.unwrap(function) if function is not None else None
            if inspect.iscoroutinefunction(kind) or inspect.isasyncgenfunction(kind):
                setattr(self, name, _synchronous(function))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return settled(function(*args, **kwargs))

    return call


def settled(result: Any) -> Any:
    """What a coroutine returns, or an iterator of what an asynchronous generator yields; anything
    else as it is.

    Raises:
        BaseException: what is raised there; `asyncio.CancelledError` where nobody waits for it any
            more.
    """
    if hasattr(type(result), "__await__"):
        try:
            with contextlib.closing(iterate(_one(result))) as chunks:
                return next(chunks)
        finally:
            if inspect.iscoroutine(result):
                # Python would complain of one that nobody has awaited.
                result.close()
    return iterate(result) if hasattr(type(result), "__anext__") else result


async def _one(awaitable: Awaitable[Any]) -> AsyncIterator[Any]:
    yield await awaitable


def iterate(chunks: AsyncIterator[Any]) -> Generator[Any, None, None]:
    """What an asynchronous generator yields. It runs in one task from beginning to end, in a copy
    of this context: what it enters, such as a timeout, belongs to that.

    Raises:
        BaseException: as `settled`.
    """
    pump = _Pump(chunks, _event_loop())
    goes_on = True
    try:
        while True:
            goes_on, value = pump.next()
            if goes_on:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        if goes_on:
            pump.close()


class _Pump:
    """Brings what an asynchronous iterator yields from the loop to the thread that asks for it.

    Args:
        chunks: The iterator.
        loop: The loop.
    """

    def __init__(self, chunks: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks = chunks
        self._loop = loop
        self._wanted = asyncio.Semaphore(0)
        # Whether it goes on, and a chunk; or else what ended it.
        self._given: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._task: asyncio.Task[BaseException | None] | None = None
        loop.call_soon_threadsafe(self._start)

    def next(self) -> tuple[bool, Any]:
        """Whether it goes on, and the next chunk; or else what was raised, None if nothing."""
        self._loop.call_soon_threadsafe(self._wanted.release)
        current = CURRENT.get()
        with current.calling(self._stop) if current is not None else contextlib.nullcontext():
            return self._given.get()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._stop()
        while self._given.get()[0]:
            pass

    def _stop(self) -> None:
        # After `_start`, whenever it is called.
        self._loop.call_soon_threadsafe(lambda: self._task is not None and self._task.cancel())

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._note_end)

    async def _run(self) -> BaseException | None:
        try:
            await self._wanted.acquire()
            async for chunk in self._chunks:
                self._given.put((True, chunk))
                await self._wanted.acquire()
        except (SystemExit, KeyboardInterrupt) as error:
            # Raised out of a task, they would end the loop.
            return error
        finally:
            if isinstance(self._chunks, AsyncGenerator):
                await self._chunks.aclose()
        return None

    def _note_end(self, task: asyncio.Task[BaseException | None]) -> None:
        if task.cancelled():
            self._given.put((False, asyncio.CancelledError()))
        else:
            self._given.put((False, task.exception() or task.result()))


@contextlib.contextmanager
def thread_begun_by(begin: Callable[[threading.Thread], None]) -> Iterator[None]:
    """Have the loop's thread begun in such a way, if the block needs it: it inherits how nice the
    thread is that begins it."""
    global _begin
    before, _begin = _begin, begin
    try:
        yield
    finally:
        _begin = before


def _event_loop() -> asyncio.AbstractEventLoop:
    """The loop, which is begun when it is first asked for."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _begin(threading.Thread(target=_loop.run_forever, name="event loop", daemon=True))
        return _loop
