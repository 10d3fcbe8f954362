"""Models written as coroutines: what comes of them in a thread."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from server.worker.cancellation import CURRENT, Cancellation
from server.worker.coroutines import is_async, iterate, make_synchronous, settled

LONG = 60.0


@pytest.fixture
def cancellation() -> Iterator[Cancellation]:
    """That of what is predicted in this context."""
    current = Cancellation()
    token = CURRENT.set(current)
    yield current
    CURRENT.reset(token)


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def test_what_is_no_coroutine_is_left_as_it_is() -> None:
    answer = [1, 2]
    assert settled(answer) is answer


def test_a_coroutine_gives_what_it_returns() -> None:
    assert settled(double(3)) == 6


def test_all_are_awaited_on_one_loop() -> None:
    async def where() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loops: list[object] = []
    threads = [threading.Thread(target=lambda: loops.append(settled(where()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(loops) == 4
    assert len(set(loops)) == 1


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_it_raises_is_raised_here_and_the_loop_goes_on(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        settled(fail())
    assert raised.value is error
    assert settled(double(1)) == 2


def test_it_sees_the_context_of_who_asks_and_changes_only_a_copy() -> None:
    variable = contextvars.ContextVar("variable", default="")

    async def look() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    variable.set("mine")
    assert settled(look()) == "mine"
    assert variable.get() == "mine"


def test_a_generator_runs_in_one_task_from_beginning_to_end() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def chunks() -> AsyncIterator[object]:
        token = variable.set(1)
        async with asyncio.timeout(LONG):
            for _ in range(3):
                yield asyncio.current_task()
        # Raises in any other context.
        variable.reset(token)

    tasks = list(iterate(chunks()))
    assert len(tasks) == 3
    assert len(set(tasks)) == 1


def test_a_generator_makes_nothing_ahead_of_time() -> None:
    made = []

    async def chunks() -> AsyncIterator[int]:
        for number in range(5):
            made.append(number)
            yield number

    given = iterate(chunks())
    assert [next(given), next(given)] == [0, 1]
    # Whatever it had left to do is done before this is.
    settled(double(0))
    assert made == [0, 1]
    given.close()
    assert made == [0, 1]


def test_a_generator_that_is_closed_has_cleaned_up_by_then() -> None:
    events = []

    async def chunks() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    given = iterate(chunks())
    next(given)
    given.close()
    assert events == ["cleaned up"]


def test_what_nobody_waits_for_ends_in_the_midst_of_waiting(cancellation: Cancellation) -> None:
    waiting, events = threading.Event(), []

    async def wait() -> None:
        try:
            waiting.set()
            await asyncio.sleep(LONG)
        finally:
            events.append("ended")

    def cancel() -> None:
        waiting.wait(LONG)
        cancellation.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(asyncio.CancelledError):
        settled(wait())
    thread.join(LONG)
    assert events == ["ended"]


def test_what_was_cancelled_before_ends_at_once(cancellation: Cancellation) -> None:
    cancellation.cancel()
    with pytest.raises(asyncio.CancelledError):
        settled(asyncio.sleep(LONG))


def test_a_callback_is_called_only_within_its_block() -> None:
    cancellation, calls = Cancellation(), []
    with cancellation.calling(lambda: calls.append("late")):
        pass
    with cancellation.calling(lambda: calls.append("in time")):
        cancellation.cancel()
    assert calls == ["in time"]


def test_wrappers_get_what_coroutines_return() -> None:
    class Agent:
        async def predict(self, number: int) -> int:
            return await double(number)

        async def predict_stream(self, number: int) -> AsyncIterator[int]:
            yield number
            yield await double(number)

    wrapper = SimpleNamespace(chat_agent=Agent())
    assert is_async(wrapper)
    make_synchronous(wrapper)
    assert wrapper.chat_agent.predict(2) == 4
    with contextlib.closing(wrapper.chat_agent.predict_stream(2)) as chunks:
        assert list(chunks) == [2, 4]


def test_a_model_s_own_code_gets_its_coroutines_as_they_are() -> None:
    class Agent:
        def predict(self, number: int) -> int:
            return asyncio.run(self.total(number))

        async def total(self, number: int) -> int:
            return sum([chunk async for chunk in self.predict_stream(number)])

        async def predict_stream(self, number: int) -> AsyncIterator[int]:
            yield number
            yield await double(number)

    agent = Agent()
    wrapper = SimpleNamespace(chat_agent=agent)
    assert not is_async(wrapper)
    make_synchronous(wrapper)
    assert wrapper.chat_agent.predict(2) == 6
    assert list(wrapper.chat_agent.predict_stream(2)) == [2, 4]
    assert wrapper.chat_agent.total.__self__ is agent


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (SimpleNamespace(python_model=SimpleNamespace(predict=double)), True),
        (SimpleNamespace(python_model=SimpleNamespace(func=double, predict=print)), True),
        (SimpleNamespace(python_model=SimpleNamespace(predict=print)), False),
        (SimpleNamespace(chat_model=SimpleNamespace(predict=double)), True),
        (SimpleNamespace(), False),
    ],
)
def test_a_coroutine_function_is_known(model: Any, *, expected: bool) -> None:
    assert is_async(model) is expected
