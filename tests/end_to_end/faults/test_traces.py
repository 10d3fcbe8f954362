"""What an agent traces with MLflow: a trace for each request, and nothing of another's in it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Trace
from mlflow.entities.trace_state import TraceState

from tests.conftest import StartServer
from tests.support.models import SavedModels, synchronous
from tests.support.registry import HttpRegistry
from tests.support.streams import streaming
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

REQUESTS = 32
STEPS = ("retrieve", "think", "answer")

_PREAMBLE = """
import asyncio, mlflow, time

STEPS = {steps!r}

@mlflow.trace
async def take(step, text):
    with mlflow.start_span(f"inside {{step}}") as span:
        await asyncio.sleep(0.1)
        span.set_inputs({{"text": text}})
        mlflow.update_current_trace(tags={{step: text}})
    return f"{{step}} {{text}}"

@mlflow.trace(name="agent")
async def answer(text):
    return [await take(step, text) for step in STEPS][-1]

@mlflow.trace(name="agent")
async def answers(text):
    for step in STEPS:
        yield await take(step, text)
"""
_PREDICT = "return [await answer(text) for text in model_input['text']]"
_STREAM = """
async for one in answers(model_input["text"]):
    yield one
"""


def save_agent(saved: SavedModels, *, asynchronous: bool) -> Path:
    """Save a model that traces what it does over a text, step by step."""
    code = _PREAMBLE.format(steps=STEPS), _PREDICT, _STREAM
    preamble, predict, stream = code if asynchronous else map(synchronous, code)
    return saved.save(predict, stream=stream, preamble=preamble, asynchronous=asynchronous)


@pytest.fixture
def tracking(http_registry: HttpRegistry) -> Iterator[HttpRegistry]:
    """A tracking server that MLflow's functions use, too: where it is slow to log spans, a trace is
    among its artifacts, and whoever looks for it downloads these from there."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(http_registry.uri)
    yield http_registry
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "coroutines"])
async def test_each_request_has_a_trace_of_its_own(
    tracking: HttpRegistry,
    saved: SavedModels,
    model_name: str,
    start_server: StartServer,
    asynchronous: bool,
) -> None:
    tracking.create(model_name)
    path = save_agent(saved, asynchronous=asynchronous)
    tracking.promote(model_name, tracking.add(model_name, path))
    experiment = tracking.client.create_experiment(model_name)
    server = await asyncio.to_thread(
        start_server,
        f"models:/{model_name}/Production",
        MLFLOW_TRACKING_URI=tracking.uri,
        MLFLOW_EXPERIMENT_ID=experiment,
    )
    await asyncio.to_thread(server.wait_healthy)
    found = (await asyncio.to_thread(server.info))["concurrency"]
    assert found["slots"] == REQUESTS, found

    async def predict(text: str) -> None:
        answer = await asyncio.to_thread(server.predict, {"instances": [text]})
        assert (answer.status, answer.json) == (200, {"predictions": [f"answer {text}"]})

    async def stream(text: str) -> None:
        async with streaming(server.port, {"instances": [text], "stream": True}) as events:
            assert await events.rest() == [f"{step} {text}" for step in STEPS]

    texts = [f"text {number}" for number in range(REQUESTS)]
    await asyncio.gather(*(predict(t) if n % 2 else stream(t) for n, t in enumerate(texts)))

    async def traced() -> list[Trace]:
        found = await asyncio.to_thread(
            tracking.client.search_traces, locations=[experiment], max_results=200
        )
        ended = [trace for trace in found if trace.info.state == TraceState.OK]
        # What was noted of a trace comes after its spans.
        noted = [trace for trace in ended if all(step in trace.info.tags for step in STEPS)]
        ours = [trace for trace in noted if text_of(trace) in texts]
        return ours if len(ours) >= REQUESTS else []

    traces = await eventually(traced, "every trace is logged", 30)
    assert sorted(map(text_of, traces)) == sorted(texts)
    for trace in traces:
        text = text_of(trace)
        names = sorted(span.name for span in trace.data.spans)
        assert names == sorted(
            ["agent", *(name for step in STEPS for name in (f"inside {step}", "take"))]
        )
        assert {str(span.inputs["text"]) for span in trace.data.spans} == {text}
        assert {step: trace.info.tags.get(step) for step in STEPS} == dict.fromkeys(STEPS, text)


def text_of(trace: Trace) -> str:
    """The text that its outermost span was given; none before that is logged."""
    roots = [span for span in trace.data.spans if span.parent_id is None]
    return str(roots[0].inputs["text"]) if roots else ""
