"""Bodies in Parquet."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest

from server.worker.protocol import Protocol
from tests.protocol.conftest import Load, Serve
from tests.protocol.models import Describes, Echo
from tests.protocol.support import columns

PARQUET = "application/vnd.apache.parquet"


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a frame as the body of a request."""
    file = BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def test_the_model_gets_the_frame(serve: Serve) -> None:
    served = serve(Describes, columns(a="long", b="string"))
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [None, None]}, index=[5, 6])
    assert served.answer_to(parquet(frame), PARQUET) == served.model.predict(frame)


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" * 10, parquet(pd.DataFrame({"z": [1]}))])
def test_what_does_not_fit_is_refused(serve: Serve, body: bytes) -> None:
    serve(Describes, columns(text="string")).refusal_of(body, PARQUET)


def test_more_cells_than_fit_in_memory_are_refused(serve: Serve) -> None:
    body = parquet(pd.DataFrame({"text": np.zeros(30_000_000, dtype="int8")}))
    assert len(body) < 1_000_000
    served = serve(Describes, columns(text="string"))
    assert "unpacks to 30000000 cells" in served.refusal_of(body, PARQUET)


def test_requests_are_not_merged(load: Load) -> None:
    request = Protocol(load(Echo)).parse(PARQUET, parquet(pd.DataFrame({"a": [1, 2]})))
    assert request.merge_key is None
    assert request.rows == 2
