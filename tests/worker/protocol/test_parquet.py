"""Bodies in Parquet."""

from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import columns

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


def test_more_cells_than_a_model_can_be_given_are_refused(serve: Serve) -> None:
    body = parquet(pd.DataFrame({"text": np.zeros(30_000_000, dtype="int8")}))
    assert len(body) < 1_000_000
    served = serve(Describes, columns(text="string"))
    assert "unpacks to 30000000 cells" in served.refusal_of(body, PARQUET)


@pytest.mark.parametrize("nested", [False, True], ids=["rows", "list"])
def test_a_body_that_unpacks_to_gigabytes_is_refused_in_bounded_memory(
    serve: Serve, nested: bool
) -> None:
    """One text of a megabyte, in two thousand rows or in one row's list."""
    texts: Any = pa.DictionaryArray.from_arrays(
        np.zeros(2000, dtype="int32"), ["x" * 1_000_000], safe=False
    )
    column = pa.ListArray.from_arrays([0, len(texts)], texts) if nested else texts
    file = BytesIO()
    pq.write_table(pa.table({"text": column}), file, compression="zstd", store_schema=False)
    assert len(file.getvalue()) < 1000
    served = serve(Echo, columns(text="string"))
    before = served.worker.most_memory()
    message = served.refusal_of(file.getvalue(), PARQUET)
    assert "takes more than 512 MiB to unpack" in message
    assert served.worker.most_memory() - before < 600_000_000
    assert served.answer({"instances": ["next"]}) == [{"text": "next"}]


def test_requests_are_not_merged(load: Load) -> None:
    request = Protocol(load(Echo)).parse(PARQUET, parquet(pd.DataFrame({"a": [1, 2]})))
    assert request.merge_key is None
    assert request.rows == 2
