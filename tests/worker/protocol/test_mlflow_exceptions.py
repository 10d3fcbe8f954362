"""What a model raises as `MlflowException` is answered with its own code, as MLflow answers it."""

import itertools
import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import mlflow.pyfunc
import pytest
from mlflow.exceptions import (
    ERROR_CODE_TO_HTTP_STATUS,
    InvalidUrlException,
    MlflowException,
    RestException,
)
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import NOT_FOUND, RESOURCE_CONFLICT, ErrorCode

from server.worker.frames import Answer, Outcome
from server.worker.merging.batching import Predictor
from server.worker.merging.merge_keys import MergeKeys
from server.worker.merging.sizes import BatchSizes
from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Save, Serve
from tests.worker.protocol.models import Echo, Runs, RunsTexts, Texts, pickled
from tests.worker.protocol.support import JSON, columns
from tests.worker.protocol.workers import Served

Told = tuple[int, str, str]
"""Status, code and message."""


class OwnStatus(MlflowException):
    """One with a status that MLflow does not know."""

    def get_http_status_code(self) -> Any:
        return self.json_kwargs["status"]


class OwnCode(MlflowException):
    """One with a code that MLflow does not know."""

    def __init__(self, code: Any) -> None:
        super().__init__("said")
        self.error_code = code


class Unfinished(MlflowException):
    """One whose base class was never called."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


class Trap(MlflowException):
    """One that raises when it is looked at."""

    def get_http_status_code(self) -> NoReturn:
        raise SystemExit


def raised(error: BaseException) -> Callable[[], NoReturn]:
    """Return a function that raises it."""

    def run() -> NoReturn:
        raise error

    return run


def chained(error: BaseException, cause: BaseException) -> Callable[[], NoReturn]:
    """Return a function that raises it because of another."""

    def run() -> NoReturn:
        raise error from cause

    return run


def rest_exception(code: str) -> RestException:
    return RestException({"error_code": code, "message": "said"})  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module", params=[Runs, RunsTexts])
def runs(request: pytest.FixtureRequest, serve: Serve) -> Served:
    """A model that runs what it is sent, with a signature and with a type hint."""
    return serve(request.param, columns(function="string") if request.param is Runs else None)


def told(answer: Answer) -> Told:
    assert answer.outcome is Outcome.MODEL_ERROR
    error = json.loads(answer.body)
    assert error.keys() == {"error_code", "message"}
    return answer.status, error["error_code"], error["message"]


def ask(runs: Served, function: Callable[[], Any]) -> Told:
    """Return what is told of the failure of a function."""
    return told(runs.worker.ask(json.dumps({"inputs": [pickled(function)]}).encode()))


@pytest.mark.parametrize("code", [*ERROR_CODE_TO_HTTP_STATUS, "QUOTA_EXCEEDED"])
def test_it_has_its_own_code_and_the_status_of_that(runs: Served, code: str) -> None:
    error = MlflowException("said", error_code=ErrorCode.Value(code))
    status = ERROR_CODE_TO_HTTP_STATUS.get(code, 500)
    assert ask(runs, raised(error)) == (status, code, "said")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (raised(MlflowException("said")), (500, "INTERNAL_ERROR", "said")),
        (
            raised(MlflowException("said", error_code="NOT_FOUND")),  # type: ignore[arg-type]
            (500, "INTERNAL_ERROR", "said"),
        ),
        (raised(MlflowException("said", error_code=98765)), (500, "INTERNAL_ERROR", "said")),
        (
            raised(InvalidUrlException("said", error_code=NOT_FOUND)),
            (404, "NOT_FOUND", "said"),
        ),
        (
            raised(rest_exception("RESOURCE_DOES_NOT_EXIST")),
            (404, "RESOURCE_DOES_NOT_EXIST", "RESOURCE_DOES_NOT_EXIST: said"),
        ),
        (
            raised(rest_exception("404")),
            (404, "ENDPOINT_NOT_FOUND", "404: said"),
        ),
        (raised(OwnStatus("said", status=503)), (503, "INTERNAL_ERROR", "said")),
        (raised(OwnCode("MINE")), (500, "MINE", "said")),
        (
            chained(MlflowException("outer", error_code=RESOURCE_CONFLICT), KeyError("inner")),
            (409, "RESOURCE_CONFLICT", "outer"),
        ),
        (
            chained(KeyError("outer"), MlflowException("inner", error_code=NOT_FOUND)),
            (400, "BAD_REQUEST", "'outer'"),
        ),
        (raised(ValueError("said")), (400, "BAD_REQUEST", "said")),
        # MLflow's own server fails on these, or answers that all is well.
        (raised(Unfinished("said")), (500, "INTERNAL_ERROR", "said")),
        (raised(Trap("said")), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnStatus("said", status=422)), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnStatus("said", status=204)), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnStatus("said", status=200)), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnStatus("said", status=70_000)), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnStatus("said", status=None)), (500, "INTERNAL_ERROR", "said")),
        (raised(OwnCode(7)), (500, "7", "said")),
        (raised(OwnCode("half \ud83d")), (500, "half \\ud83d", "said")),
    ],
)
def test_whatever_it_is_made_of(runs: Served, function: Callable[[], Any], expected: Told) -> None:
    assert ask(runs, function) == expected


def test_its_traceback_is_in_the_log_alone(runs: Served) -> None:
    error = MlflowException("only once", stack_trace="Traceback of another")
    assert ask(runs, raised(error)) == (500, "INTERNAL_ERROR", "only once")
    assert "MlflowException: only once" in runs.worker.log


def test_no_message_shows_where_the_model_lies(runs: Served) -> None:
    def where() -> NoReturn:
        import tempfile

        raise MlflowException(f"no weights in {tempfile.gettempdir()}/weights")

    assert re.fullmatch(r"no weights in <directory>/\d+/weights", ask(runs, where)[2])


@pytest.mark.parametrize(
    ("inner", "signature", "data"), [(Echo, columns(a="double"), {"b": [1]}), (Texts, None, [1])]
)
def test_what_a_model_inside_the_model_refuses_is_the_model_s_to_tell(
    runs: Served, save: Save, inner: type, signature: ModelSignature | None, data: Any
) -> None:
    path = str(save(inner, signature))

    def nested() -> Any:
        return mlflow.pyfunc.load_model(path).predict(data)

    status, code, _ = ask(runs, nested)
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("model", "document", "code"),
    [
        (Runs, {"dataframe_records": [{"b": 1}]}, "INVALID_PARAMETER_VALUE"),
        (Runs, {"inputs": [["a", ["b"]]]}, "BAD_REQUEST"),
        (Runs, {"rows": []}, "BAD_REQUEST"),
        (RunsTexts, {"inputs": [1]}, "INVALID_PARAMETER_VALUE"),
        (RunsTexts, {"inputs": {"x": 1}}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_input_that_does_not_fit_has_the_code_that_mlflow_gives_it(
    serve: Serve, model: type, document: Any, code: str
) -> None:
    served = serve(model, columns(function="string") if model is Runs else None)
    answer = served.worker.ask(json.dumps(document).encode())
    assert (answer.status, answer.outcome) == (400, Outcome.INVALID_INPUT)
    assert json.loads(answer.body)["error_code"] == code


def test_of_a_merged_batch_each_request_gets_the_answer_that_it_gets_alone(load: Load) -> None:
    protocol = Protocol(load(RunsTexts))
    functions: list[Callable[[], Any]] = [
        lambda: "fine",
        raised(MlflowException("said", error_code=NOT_FOUND)),
        raised(ValueError("said")),
        lambda: "fine, too",
    ]
    bodies = [json.dumps({"inputs": [pickled(function)]}).encode() for function in functions]

    def answers(keys: MergeKeys, *asked: bytes) -> list[Answer]:
        parts = [memoryview(part) for body in asked for part in (JSON.encode(), b"", body)]
        groups = Predictor(protocol, keys, BatchSizes(16)).answer(parts)
        return sorted(itertools.chain.from_iterable(groups))

    together = answers(MergeKeys(everything=True), *bodies)
    alone = [answer for body in bodies for answer in answers(MergeKeys(), body)]
    assert [answer._replace(place=0) for answer in together] == alone
    assert [answer.status for answer in together] == [200, 404, 400, 200]
