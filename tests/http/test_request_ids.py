"""Which request ids are taken from clients."""

import pytest
from aiohttp.test_utils import make_mocked_request

from server.http.request_ids import request_id


def id_of(given: str | None) -> str:
    """The id that a request with this header gets."""
    headers = {} if given is None else {"X-Request-ID": given}
    return request_id(make_mocked_request("GET", "/", headers=headers))


@pytest.mark.parametrize(
    "given", ["1", "a-b_c.d:e", "0af7651916cd43dd8448eb211c80319c", "x" * 128, "a/b+c=@"]
)
def test_a_usable_one_is_taken(given: str) -> None:
    assert id_of(given) == given


@pytest.mark.parametrize(
    "given", ["", " ", "a b", "x" * 129, 'a"b', "a\tb", "\u00e9", "$(id)", "a\x1b[31m"]
)
def test_another_is_replaced(given: str) -> None:
    assert id_of(given) != given


def test_each_request_without_one_gets_its_own() -> None:
    made = {id_of(None) for _ in range(100)}
    assert len(made) == 100
    # What is made is what would be taken, so that it can be sent on.
    assert all(id_of(one) == one for one in made)
