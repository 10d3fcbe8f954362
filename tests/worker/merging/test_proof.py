"""What the rehearsal finds out about merging, and what it costs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.worker.merging.proof import Proof
from server.worker.protocol import Protocol
from server.worker.spec import RecordedRequest
from tests.support.models import TEXT_EXAMPLE, TEXT_SIGNATURE, SavedModels
from tests.worker.merging.clients import NUMBER_EXAMPLE
from tests.worker.merging.predicting import rehearsed
from tests.worker.merging.test_trials import FACTOR

TEXTS = ModelSignature(inputs=Schema([ColSpec(DataType.string, "text")]))


class Trying:
    """Rehearses a model of a method's body; `rows` are those of each prediction that it took."""

    def __init__(self, saved: SavedModels, notes: Path) -> None:
        self.rows: list[int] = []
        self._saved = saved
        self._notes = notes

    def __call__(
        self, predict: str, recorded: tuple[RecordedRequest, ...] = (), **options: Any
    ) -> tuple[Protocol, Proof]:
        note = f"with open({str(self._notes)!r}, 'a') as f: print(len(model_input), file=f)\n"
        path = self._saved.save(note + predict, **options)
        self._notes.write_text("")
        protocol, proof, _ = rehearsed(path, recorded)
        self.rows = [*map(int, self._notes.read_text().split())]
        return protocol, proof


@pytest.fixture
def trying(saved: SavedModels, tmp_path: Path) -> Trying:
    """Rehearses models in this process."""
    return Trying(saved, tmp_path / "notes")


def merges(protocol: Protocol, proof: Proof, document: Any) -> bool:
    """Whether requests like this one share predictions."""
    key = protocol.parse("application/json", json.dumps(document).encode()).merge_key
    assert key is not None
    return proof.keys.merges(key)


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["text"], "data": [["a"]]}},
        {"dataframe_split": {"columns": ["text"], "data": [["a"]], "index": [0]}},
        {"dataframe_records": [{"text": "a"}]},
        {"instances": [{"text": "a"}]},
        {"inputs": {"text": ["a"]}},
        {"instances": ["a"]},
        {"inputs": [["a"]]},
    ],
)
def test_every_form_of_the_example_is_proved(trying: Trying, document: Any) -> None:
    protocol, proof = trying("return model_input['text'].tolist()", signature=TEXTS)
    assert merges(protocol, proof, document)
    assert proof.formats == {"dataframe_split", "dataframe_records", "instances", "inputs"}


def test_forms_that_the_model_can_t_tell_apart_are_predicted_once(trying: Trying) -> None:
    trying("return model_input['text'].tolist()", signature=TEXTS)
    # The example, each row alone, and five predictions of several.
    assert len(trying.rows) == 1 + 16 + 5
    assert sum(count == 1 for count in trying.rows) == 17


def test_nor_are_those_that_lack_values_predicted_in_every_form(trying: Trying) -> None:
    optional = ModelSignature(inputs=Schema([ColSpec(DataType.string, "text", required=False)]))
    protocol, proof = trying(
        "return model_input['text'].fillna('none').tolist()", signature=optional
    )
    # As above, and two rows without a text, alone and in five predictions beside others.
    assert len(trying.rows) == 1 + 16 + 5 + 2 + 5
    for form in (
        {"dataframe_split": {"columns": ["text"], "data": [[None]]}},
        {"dataframe_records": [{"text": None}]},
        {"inputs": {"text": [None]}},
    ):
        assert merges(protocol, proof, form)


# A model that slept would wait for something else, which is another matter.
COMPUTE = """
import time
until = time.thread_time() + {seconds}
while time.thread_time() < until:
    pass
return model_input["text"].tolist()
"""


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_slow_model_is_not_kept_from_serving_by_its_proof(trying: Trying, seconds: float) -> None:
    _, proof = trying(COMPUTE.format(seconds=f"{seconds} * len(model_input)"))
    assert proof.formats == set()
    assert "too long" in proof.reason
    # The example, and one more.
    assert trying.rows == [1, 1]


def test_a_model_that_is_slow_but_not_slower_for_more_rows_is_merged(trying: Trying) -> None:
    _, proof = trying(COMPUTE.format(seconds=0.05))
    assert proof.formats != set()


@pytest.mark.parametrize(
    "error", ["ValueError('x')", "SystemExit('x')", "type('Panic', (BaseException,), {})('x')"]
)
def test_a_model_that_raises_for_several_rows_serves_unmerged(trying: Trying, error: str) -> None:
    _, proof = trying(f"if len(model_input) > 1: raise {error}\nreturn ['fine']")
    assert proof.formats == set()
    assert "fails on rows together" in proof.reason


def test_an_answer_that_can_t_be_looked_into_serves_unmerged(trying: Trying) -> None:
    _, proof = trying(
        """
class Odd(dict):
    def items(self):
        raise RuntimeError
    def __iter__(self):
        raise RuntimeError
return [Odd(a=text) for text in model_input["text"]]
"""
    )
    assert proof.formats == set()


def test_a_list_of_integers_and_floats_is_evidence_that_they_stay_apart(trying: Trying) -> None:
    _, proof = trying(
        "return [max(0, x) for x in model_input['x'].tolist()]",
        signature=None,
        input_example=NUMBER_EXAMPLE,
    )
    assert proof.formats != set()


def recorded(count: int, answer: Callable[[float], float]) -> tuple[RecordedRequest, ...]:
    """Real requests with a parameter that no example has, and what was answered."""
    requests = []
    for n in range(count):
        body = json.dumps({"instances": [{"x": n * 1.5}], "params": {"factor": 2.0}})
        old = json.dumps({"predictions": [answer(n * 1.5)]}, separators=(",", ":"))
        requests.append(RecordedRequest(b"application/json", body.encode(), old.encode()))
    return tuple(requests)


@pytest.mark.parametrize(
    ("expression", "count", "merged", "on_trial"),
    [
        ("x * params['factor']", 32, True, False),
        ("x * params['factor']", 4, False, True),
        ("x if params['factor'] == 1.0 else x - x.mean()", 32, False, False),
    ],
    ids=["same together", "too few", "different together"],
)
def test_recorded_requests_prove_or_bar_what_no_example_is_like(
    trying: Trying, expression: str, count: int, merged: bool, on_trial: bool
) -> None:
    protocol, proof = trying(
        f"x = model_input['x']\nreturn ({expression}).tolist()",
        recorded(count, lambda x: 0.0),
        signature=FACTOR,
        input_example=NUMBER_EXAMPLE,
    )
    assert proof.formats != set()
    document = {"instances": [{"x": 9.5}], "params": {"factor": 2.0}}
    key = protocol.parse("application/json", json.dumps(document).encode()).merge_key
    assert key is not None
    assert (proof.keys.merges(key), proof.keys.on_trial(key)) == (merged, on_trial)


def test_recorded_requests_are_predicted_in_large_numbers_before_anyone_waits(
    trying: Trying,
) -> None:
    requests = tuple(
        RecordedRequest(b"application/json", b'{"instances": ["%d"]}' % n, b'["old"]')
        for n in range(3)
    )
    trying("return model_input['text'].tolist()", requests, input_example=TEXT_EXAMPLE)
    assert trying.rows[-4:] == [2, 8, 32, 256]
    trying("return [str(len(model_input))] * len(model_input)", requests, signature=TEXT_SIGNATURE)
    assert 256 not in trying.rows
