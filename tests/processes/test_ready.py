"""What a process says when it is ready may have been written by the model's code."""

from typing import Any

import orjson
import pytest

from server.errors import LoadFailed
from server.http.openapi import describe
from server.processes.ready import Ready

GOOD: dict[str, Any] = {
    "path": "/model",
    "model": {
        "run_id": None,
        "model_id": None,
        "model_uuid": "1",
        "mlflow_version": "3.17.2",
        "flavors": ["python_function"],
        "signature": {
            "inputs": '[{"type": "string", "name": "a"}]',
            "outputs": None,
            "params": None,
        },
        "from_type_hint": False,
        "example": {"inputs": [1]},
    },
    "rehearsed": 1,
    "example_failed": {"error": "it raised", "exception": "Traceback"},
    "replayed": 0,
    "answers_changed": 0,
    "answers_failed": 0,
    "sandbox": "none: it says so",
    "merged_formats": ["instances"],
    "merging_reason": "proved",
    "slots": 32,
    "slots_reason": "measured",
    "waits": True,
    "speaks": "chat",
    "streams": False,
    "replay_skipped": None,
    "unshared": None,
}


DEEP = '{"type": "array", "items":' * 300 + '{"type": "long"}' + "}" * 300


def said(told: object, *answers: bytes) -> Ready:
    """What is read of it."""
    return Ready.of([memoryview(part) for part in (orjson.dumps(told), *answers)], len(answers))


def changed(path: str, value: object) -> dict[str, Any]:
    """What a process says, with something else in one place."""
    told: dict[str, Any] = orjson.loads(orjson.dumps(GOOD))
    *keys, last = path.split(".")
    place = told
    for key in keys:
        place = place[key]
    place[last] = value
    return told


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_what_a_worker_says_is_read() -> None:
    ready = said(GOOD, b"1", b"2")
    assert ready.model == GOOD["model"]
    assert (ready.merged_formats, ready.answers) == (("instances",), (b"1", b"2"))
    assert ready.example_failed == GOOD["example_failed"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model", {}),
        ("model", None),
        ("model.run_id", {"a": 1}),
        ("model.flavors", "x"),
        ("model.signature", []),
        ("model.signature", {"inputs": None}),
        ("example_failed", ["error"]),
        ("example_failed", {}),
        ("example_failed", {"error": "it raised", "version": "v9"}),
        ("example_failed", {"error": {}}),
        ("merged_formats", 7),
        ("merged_formats", [[]]),
        ("rehearsed", "many"),
        ("answers_changed", None),
        ("unshared", False),
        ("slots", 0),
        ("slots", "many"),
        ("slots", 10_000_000),
        ("slots_reason", None),
        ("waits", "often"),
        ("speaks", "latin"),
        ("streams", None),
        ("replay_skipped", 7),
    ],
)
def test_anything_else_is_refused(path: str, value: object) -> None:
    with pytest.raises(LoadFailed, match="says what none does"):
        said(changed(path, value))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 5000, b"1" * 2**24])
def test_what_is_no_such_object_is_refused(data: bytes) -> None:
    with pytest.raises(LoadFailed, match="says what none does"):
        Ready.of([memoryview(data)], 0)


def test_nothing_is_refused() -> None:
    with pytest.raises(LoadFailed, match="says what none does"):
        Ready.of([], 0)


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_more_or_fewer_answers_than_were_asked_for_are_refused(answers: int) -> None:
    with pytest.raises(LoadFailed, match="answers to 2"):
        Ready.of([memoryview(orjson.dumps(GOOD)), *[memoryview(b"")] * answers], 2)


def test_an_example_that_is_too_deep_is_not_shown() -> None:
    assert said(changed("model.example", nested(100))).model["example"] == nested(100)
    assert said(changed("model.example", nested(250))).model["example"] is None


@pytest.mark.parametrize(
    "inputs",
    [
        *("null", "7", "[7]", "[{}]", '[{"name": "a"}]', '[{"name": "a", "type": []}]'),
        "[" * 5000,
        f'[{{"name": "a", "type": "array", "items": {DEEP}}}]',
    ],
)
def test_a_signature_that_is_none_is_not_described(inputs: str) -> None:
    signature = {"inputs": inputs, "outputs": None, "params": inputs}
    ready = said(changed("model.signature", signature))
    body = describe("name", "1", ready.model)["paths"]["/invocations"]["post"]["requestBody"]
    orjson.dumps(body)
    assert "schema" in body["content"]["application/json"]
