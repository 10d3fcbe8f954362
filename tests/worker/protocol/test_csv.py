"""Bodies in CSV."""

from io import StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import parse_csv_input

from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import columns, tensor

CSV = "text/csv"


@pytest.mark.parametrize(
    "csv",
    [
        "a,b,c\n1,0.5,x\n2,1.5,y\n",
        "c,b,a\nx,0.5,1\n",
        "a,b,c\n1,,\n",
        'a,b,c\n1,0.1,"x, ""y""\nz"\n',
        "a,b,c,d\n1,2,3,4\n",
        "a,b,c\n",
        "\ufeffa,b,c\n1,2,3\n",
    ],
)
def test_the_model_gets_what_mlflow_would_hand_it(serve: Serve, csv: str) -> None:
    served = serve(Describes, columns(a="long", b="double", c="string"))
    assert served.answer_to(csv.encode(), CSV) == _mlflows_answer(served.model, csv)


def _mlflows_answer(model: PyFuncModel, csv: str) -> Any:
    metadata: Any = model.metadata
    parse: Any = parse_csv_input
    return model.predict(parse(StringIO(csv), metadata.get_input_schema()))


@pytest.mark.parametrize("body", [b"", b"a,b\n1,x\n", b"\xff", b"a,a\n1,2\n", b'a,b\n"1,2'])
def test_what_does_not_fit_is_refused(serve: Serve, body: bytes) -> None:
    serve(Describes, columns(a="long", b="double")).refusal_of(body, CSV)


def test_dates(serve: Serve) -> None:
    # MLflow's server refuses them.
    served = serve(Describes, columns(day="datetime"))
    answer = served.answer_to(b"day\n2024-05-06\n", "text/csv; charset=utf-8")
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-05-06"])})
    assert answer == served.model.predict(frame)


def test_tensors(serve: Serve) -> None:
    # MLflow's server refuses them.
    served = serve(Describes, tensor("float64", -1, 2))
    answer = served.answer_to(b"a,b\n1.5,2\n", CSV)
    assert answer == served.model.predict(np.array([[1.5, 2.0]]))


def test_requests_are_not_merged(load: Load) -> None:
    request = Protocol(load(Echo)).parse(CSV, b"a,b\n1,x\n2,y\n")
    assert request.merge_key is None
    assert request.rows == 2
