"""docs/http-api.md: streams come as it shows them, and its application reads them."""

import asyncio
import json
import re
from typing import Any

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import SavedModels
from tests.support.pages import HTTP_API, python_blocks, shown_code

WORDS = """
(text,) = model_input.values()
for word in text.split():
    yield {"word": word}
    if word == "late":
        raise ValueError("too late")
"""


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway of a model that streams the words that it is asked."""
    return await start_gateway(saved.save("return ['predicted']", stream=WORDS))


async def test_a_stream_is_as_it_is_shown(client: Client) -> None:
    shown = re.search(r"-d '(.*)'\n((?:    data: .*\n)+)", shown_code(HTTP_API))
    assert shown is not None
    body, lines = shown.groups()
    answer = await client.predict(json.loads(body))
    assert answer.body.decode() == "".join(f"{line.strip()}\n\n" for line in lines.splitlines())


async def test_what_an_application_is_told_to_do_with_streams_works(client: Client) -> None:
    (block,) = (one for one in python_blocks(HTTP_API) if "def pieces" in one)
    application: dict[str, Any] = {}
    exec(block, application)  # noqa: S102

    def read(text: str) -> list[Any]:
        return [*application["pieces"](client.url, {"inputs": [text]})]

    assert await asyncio.to_thread(read, "a b") == [{"word": "a"}, {"word": "b"}]
    with pytest.raises(RuntimeError, match="too late"):
        await asyncio.to_thread(read, "it is late")
