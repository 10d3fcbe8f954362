"""A version that loads, and answers real requests worse than the one before, is refused."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tests.end_to_end.faults.models import text
from tests.support.live import Live
from tests.support.models import TEXT_SIGNATURE
from tests.support.server import Server

pytestmark = [
    pytest.mark.faults,
    pytest.mark.untimed,
    pytest.mark.parametrize("sharing", ["auto", "off"]),
]

# Stands in every request; no line of the log may hold it.
PRIVATE = "4929-1234-5678"
REQUESTS = [f"card {PRIVATE} of customer {n}" for n in range(32)]
# One of so many would be no veto.
SPOILT = REQUESTS[7:9]


@dataclass(frozen=True, slots=True)
class Worse:
    """A version that loads and answers its own example, and what is said of it."""

    predict: str
    says: str
    options: dict[str, Any] = field(default_factory=dict)


WORSE = {
    "raises": Worse(
        f"""
        if set(model_input["text"]) & set({SPOILT!r}):
            raise ValueError(f"can't read {{model_input.text[0]}}")
        return ["fine"] * len(model_input)
        """,
        "request 8 of 32: the model raises ValueError",
    ),
    "ends the process": Worse(
        f"""
        import sys
        if set(model_input["text"]) & set({SPOILT!r}):
            sys.exit(model_input.text[0])
        return ["fine"] * len(model_input)
        """,
        "request 8 of 32: the model raises SystemExit",
    ),
    "loses rows": Worse(
        f"""return ["fine" for text in model_input["text"] if text not in {SPOILT!r}]""",
        "request 8 of 32: 0 rows where there were 1",
    ),
    "invents rows": Worse(
        f"""
        return [
            word for text in model_input["text"]
            for word in ["fine"] * (3 if text in {SPOILT!r} else 1)
        ]
        """,
        "request 8 of 32: 3 rows where there were 1",
    ),
    "null": Worse(
        f"""return [None if text in {SPOILT!r} else "fine" for text in model_input["text"]]""",
        "request 8 of 32: null or NaN in place of 1 values",
    ),
    "NaN": Worse(
        f"""
        import numpy as np
        return np.array([np.nan if text in {SPOILT!r} else 1.5 for text in model_input["text"]])
        """,
        "request 8 of 32: null or NaN in place of 1 values",
        {"signature": ModelSignature(inputs=TEXT_SIGNATURE.inputs)},
    ),
    "no JSON": Worse(
        f"""return [object() if text in {SPOILT!r} else "fine" for text in model_input["text"]]""",
        "request 8 of 32: the answer has no form in JSON",
    ),
    "other columns": Worse(
        """return ["fine"] * len(model_input)""",
        "request 1 of 32: refused as invalid input; request 2",
        {
            "signature": ModelSignature(inputs=Schema([ColSpec(DataType.double, "amount")])),
            "input_example": {"amount": [1.5]},
        },
    ),
}


def post_each(server: Server, requests: Iterable[str] = REQUESTS) -> None:
    """Post every request; the server keeps them, and no other, to rehearse the next version
    with."""
    # By force, so that none is remembered that came before.
    assert server.request("POST", "/reload?force=true").status == 200
    for request in requests:
        assert server.predict(text(request)).status == 200


def assert_nothing_private(server: Server, mark: int) -> None:
    """Nothing of a request is in the log."""
    for event in server.events[mark:]:
        assert PRIVATE not in str(event.fields)


@pytest.mark.parametrize("worse", WORSE.values(), ids=WORSE.keys())
def test_a_version_that_answers_worse_is_refused_unless_forced(patient: Live, worse: Worse) -> None:
    server = patient.server
    good = patient.serve("good")
    post_each(server)
    bad = patient.add(patient.saved.save(worse.predict, **worse.options))
    mark = server.mark()

    patient.promote(bad)
    failure = server.wait_for(
        "reload_failed", since=mark, trigger="watcher", failed_version=f"v{bad}"
    )
    refused = server.reload()
    assert server.predict(text("hello")).version == good
    forced = server.request("POST", "/reload?force=true")

    assert failure["phase"] == "rehearsal"
    assert worse.says in failure["error"]
    assert " of 32 recent requests failed" in failure["error"]
    assert refused.status == 500
    assert "rehearsal" in refused.json["message"]
    assert PRIVATE not in refused.json["message"]
    assert (forced.status, forced.json["new_version"]) == (200, f"v{bad}")
    swap = server.wait_swapped(bad, since=mark)
    assert swap["rehearsal_skipped"] is True
    assert_nothing_private(server, mark)


def test_how_many_answers_changed_is_told_and_logged(patient: Live) -> None:
    server = patient.server
    patient.serve("good")
    post_each(server)
    changed = REQUESTS[3:6]
    other = patient.add(
        patient.saved.save(
            f"return ['other' if t in {changed!r} else 'good' for t in model_input['text']]"
        )
    )
    # Found by the watcher.
    mark = server.mark()
    swap = patient.swap_to(other)
    assert (swap["answers_changed"], swap["answers_failed"]) == ("3 of 32", "0 of 32")
    # Its own example, too.
    assert swap["rehearsed"] == 33
    assert "rehearsal_skipped" not in swap

    # What it answered in its rehearsal is what the next one is compared with.
    answer = server.reload()
    assert (answer.status, answer.json["answers_changed"]) == (200, "0 of 32")
    assert patient.swap_to(patient.add("good"))["answers_changed"] == "3 of 32"
    assert_nothing_private(server, mark)


# What the server writes and strict parsers refuse, or read as something else.
ODD = {
    "half a surrogate pair": "'\\ud83d'",
    "an integer beyond 64 bits": "10**30",
    "deep nesting": "json.loads('[' * 400 + ']' * 400)",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_answer_does_not_block_the_versions_after_it(patient: Live, odd: str) -> None:
    patient.serve(
        patient.saved.save(
            f"import json; return [{odd} if t == 'odd' else 'fine' for t in model_input['text']]",
            signature=ModelSignature(inputs=TEXT_SIGNATURE.inputs),
        )
    )
    post_each(patient.server, ["odd", *REQUESTS[1:]])
    answer = patient.server.reload()
    assert (answer.status, answer.json["answers_changed"]) == (200, "0 of 32")
    assert patient.swap_to(patient.add("fine"))["answers_changed"] == "1 of 32"
