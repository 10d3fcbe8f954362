"""A model whose own input example is wrong may serve, unless the example is all that speaks."""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from server.worker.rehearsal.rehearsal import RehearsalFailed
from server.worker.spec import RecordedRequest
from tests.support.models import TEXT_SIGNATURE, SavedModels
from tests.worker.protocol.models import Texts
from tests.worker.rehearsal.conftest import Rehearse

TEXTS = ModelSignature(inputs=TEXT_SIGNATURE.inputs)
GOOD = b'{"instances":["good"]}'
RECORDED = (RecordedRequest(b"application/json", GOOD, b'{"predictions":["ok"]}'),)

# Raises on the example of the models saved here, and answers each row by itself.
PARTICULAR = """
    if "some text" in list(model_input["text"]):
        raise KeyError("never saw this word")
    return ["ok"] * len(model_input)
"""


CHAT = """
from mlflow.models import set_model
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

class Model(ChatModel):
    def predict(self, context, messages, params):
        if messages[-1].content == "good bye":
            raise TimeoutError("the other service does not answer")
        answer = ChatMessage(role="assistant", content="hello")
        return ChatCompletionResponse(choices=[ChatChoice(message=answer)])

set_model(Model())
"""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A model whose example does not work, and what is said of it."""

    says: str
    predict: str = "return ['ok'] * len(model_input)"
    options: dict[str, Any] = field(default_factory=dict)
    example: bytes | None = None


WRONG = {
    "an array, to a model that selects columns": Wrong(
        "IndexError: only integers",
        "return list(model_input['text'])",
        {"signature": None, "input_example": np.array([[1.0, 2.0]])},
    ),
    "raises": Wrong("KeyError: 'never saw this word'", PARTICULAR),
    "exits": Wrong("SystemExit: the model ended the process: 3", "import sys; sys.exit(3)"),
    "no JSON": Wrong(
        "model's answer has no form in JSON: object is not a JSON type",
        "return [object()]",
    ),
    "other columns": Wrong("Model is missing inputs ['text'].", example=b'{"inputs": {"b": [1]}}'),
    "another type": Wrong(
        "column 'text' takes numbers (double); row 0 has a string",
        options={
            "signature": ModelSignature(inputs=Schema([ColSpec(DataType.double, "text")])),
            "input_example": {"text": [1.5]},
        },
        example=b'{"dataframe_records": [{"text": "a"}]}',
    ),
    "no format": Wrong("body must be a JSON object with exactly one of", example=b'{"text": "a"}'),
    "malformed": Wrong("body is not valid JSON", example=b'{"instances": ['),
    "empty": Wrong("body is not valid JSON", example=b""),
    "not UTF-8": Wrong("UnicodeDecodeError: 'utf-8' codec can't decode", example=b"\xff\xfe"),
    "of a parameter of another type": Wrong(
        "Invalid parameters found",
        options={
            "signature": ModelSignature(
                inputs=TEXT_SIGNATURE.inputs,
                params=ParamSchema([ParamSpec("temperature", DataType.double, 0.5)]),
            )
        },
        example=b'{"inputs": ["a"], "params": {"temperature": "hot"}}',
    ),
}


@pytest.fixture(scope="module")
def save(saved: SavedModels) -> Callable[[Wrong], Path]:
    """Saves a model with the example that does not work."""

    def save(wrong: Wrong) -> Path:
        path = saved.save(wrong.predict, **{"signature": TEXTS} | wrong.options)
        if wrong.example is not None:
            (path / "serving_input_example.json").write_bytes(wrong.example)
        return path

    return save


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_model_with_a_wrong_example_may_serve_where_nothing_does(
    save: Callable[[Wrong], Path], rehearsal: Rehearse, wrong: Wrong
) -> None:
    path = save(wrong)
    rehearsed = rehearsal(path)
    assert rehearsed.example.failed is not None
    assert wrong.says in rehearsed.example.failed.error
    assert rehearsed.requests == 0
    report = rehearsed.example.failed.to_json()
    assert json.loads(json.dumps(report)) == report
    assert "Traceback (most recent call last)" in report["exception"]

    with pytest.raises(RehearsalFailed, match=r"^the model fails on its own input example: ") as no:
        rehearsal(path, example_decides=True)
    assert wrong.says in str(no.value)


def test_an_example_that_is_not_there_is_told_without_its_path(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save("return ['ok'] * len(model_input)")
    (path / "serving_input_example.json").unlink()
    failed = rehearsal(path).example.failed
    assert failed is not None
    assert failed.error == (
        "FileNotFoundError: [Errno 2] No such file or directory: "
        "'<directory>/serving_input_example.json'"
    )


def test_a_typed_model_s_example_is_asked_like_any_other(
    rehearsal: Rehearse, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(
            path, python_model=Texts(), input_example=["a"], pip_requirements=[]
        )
    assert rehearsal(path).requests == 1
    (path / "serving_input_example.json").write_text('{"inputs": [1]}')
    failed = rehearsal(path).example.failed
    assert failed is not None
    assert "Failed to validate data against type hint" in failed.error


def test_a_chat_model_s_example_that_fails_is_told(rehearsal: Rehearse, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text(CHAT)
    path = tmp_path / "model"
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(path, python_model=str(code), pip_requirements=[])
    example = {"messages": [{"role": "user", "content": "good bye"}]}
    (path / "serving_input_example.json").write_text(json.dumps(example))
    failed = rehearsal(path).example.failed
    assert failed is not None
    assert failed.error == "TimeoutError: the other service does not answer"
    example["messages"][0]["content"] = "hello"
    (path / "serving_input_example.json").write_text(json.dumps(example))
    assert rehearsal(path).requests == 1


def test_real_requests_that_are_answered_well_outweigh_the_example(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save(PARTICULAR, signature=TEXTS)
    rehearsed = rehearsal(path, example_decides=True, recorded=RECORDED)
    assert rehearsed.example.failed is not None
    assert rehearsed.requests == 1


def test_a_model_that_fails_on_both_is_refused_for_both(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save("return 1 / 0", signature=TEXTS)
    with pytest.raises(RehearsalFailed) as refused:
        rehearsal(path, recorded=RECORDED)
    assert str(refused.value) == (
        "the model fails on its own input example: ZeroDivisionError: division by zero; "
        "1 of 1 recent requests failed, a larger share than REHEARSAL_MAX_FAILURES=0.05: "
        "request 1 of 1: the model raises ZeroDivisionError"
    )


def test_an_example_that_works_does_not_outweigh_real_requests(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save(PARTICULAR.replace("some text", "good"), signature=TEXTS)
    with pytest.raises(RehearsalFailed, match=r": request 1 of 1: the model raises KeyError$"):
        rehearsal(path, recorded=RECORDED)


def test_the_example_decides_where_no_real_request_was_answered(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save("return 1 / 0", signature=TEXTS)
    # That they may all fail does not mean that they speak for it.
    with pytest.raises(RehearsalFailed, match=r"^the model fails on its own input example: "):
        rehearsal(path, recorded=RECORDED, example_decides=True, max_failures=1.0)
    assert rehearsal(path, recorded=RECORDED, max_failures=1.0).replay.failed == 1


def test_real_requests_outweigh_it_also_where_as_many_fail_as_may(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    path = saved.save(PARTICULAR, signature=TEXTS)
    fails = RecordedRequest(b"application/json", b'{"instances":["some text"]}', b"[1]")
    several = (fails, *RECORDED * 3)
    rehearsed = rehearsal(path, recorded=several, example_decides=True, max_failures=0.25)
    assert rehearsed.example.failed is not None
    assert rehearsed.replay.failed == 1
    assert rehearsed.requests == 3


def test_what_may_be_merged_is_not_tried_with_an_example_that_fails(
    saved: SavedModels, rehearsal: Rehearse
) -> None:
    example = pd.DataFrame({"text": ["some text"]})
    unsigned = saved.save(PARTICULAR, signature=None, input_example=example)
    proof = rehearsal(unsigned).proof
    assert proof.formats == frozenset()
    assert proof.reason.startswith("no example, and none can be made from the signature")

    signed = saved.save(PARTICULAR, signature=TEXTS, input_example=example)
    assert "dataframe_split" in rehearsal(signed).proof.formats


def test_after_a_worker_died_of_it_nothing_but_real_requests_is_tried(
    saved: SavedModels, rehearsal: Rehearse, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    path = saved.save(
        f"""
        with open({str(notes)!r}, "a") as notes:
            print(*model_input["text"], file=notes)
        return ["ok"]
        """,
        signature=TEXTS,
    )
    rehearsed = rehearsal(path, recorded=RECORDED, only_recorded=True, batching="auto")
    assert notes.read_text() == "good\n"
    assert rehearsed.requests == 1
    assert rehearsed.example.body is not None
    assert rehearsed.proof.formats == frozenset()
    assert rehearsal(path, only_recorded=True, batching="on").proof.reason == "BATCHING=on"
