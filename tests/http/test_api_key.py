"""Who gets predictions where an API key is set."""

from pathlib import Path

import pytest

from server.http import authorization
from server.http.authorization import api_key
from server.redaction import redact
from server.settings import Settings
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.waiting import eventually

KEY = "s3cret-of-clients"
RIGHT = {"Authorization": f"Bearer {KEY}"}
WRONG: dict[str, dict[str, str]] = {
    "none": {},
    "another": {"Authorization": "Bearer another"},
    "a part": {"Authorization": f"Bearer {KEY[:-1]}"},
    "more": {"Authorization": f"Bearer {KEY}s"},
    "an empty one": {"Authorization": "Bearer "},
    "nothing but the scheme": {"Authorization": "Bearer"},
    "the key alone": {"Authorization": KEY},
    "another scheme": {"Authorization": f"Basic {KEY}"},
    "no text": {"Authorization": "Bearer \udcff"},
}


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that asks for a key, and is asked by pages as well."""
    return await start_gateway(
        "stable", api_key=f" {KEY}\n", cors_allowed_origins="https://app.example.com"
    )


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
async def test_without_the_key_there_is_no_prediction(
    client: Client, headers: dict[str, str]
) -> None:
    answer = await client.predict(TEXT_REQUEST, headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json == {
        "error_code": "UNAUTHENTICATED",
        "message": "send the API key: Authorization: Bearer KEY",
    }
    assert answer.version is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
async def test_with_the_key_there_is(client: Client, scheme: str) -> None:
    answer = await client.predict(TEXT_REQUEST, {"Authorization": f"{scheme} {KEY}"})
    assert (answer.status, answer.json) == (200, {"predictions": ["stable"]})


async def test_a_refused_body_is_not_read_as_the_next_request(client: Client) -> None:
    large = {"instances": ["x" * 100_000]}
    assert (await client.predict(large)).status == 401
    assert (await client.predict(TEXT_REQUEST, RIGHT)).status == 200


@pytest.mark.parametrize("path", ["/health", "/livez", "/metrics", "/info", "/version"])
async def test_what_is_no_prediction_asks_for_no_key(client: Client, path: str) -> None:
    assert (await client.get(path)).status == 200


async def test_a_browser_may_ask_beforehand_without_the_key(client: Client) -> None:
    answer = await client.request(
        "OPTIONS",
        "/invocations",
        headers={
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert answer.status == 204
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    refused = await client.predict(TEXT_REQUEST, {"Origin": "https://app.example.com"})
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the key."""
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


async def test_a_key_in_a_file_may_change(
    start_gateway: StartGateway,
    connect: Connect,
    file: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authorization, "_KEY_FRESH_SECONDS", 0.1)
    client = await connect(await start_gateway("stable", api_key_file=file))

    async def status(key: str) -> int:
        return (await client.predict(TEXT_REQUEST, {"Authorization": f"Bearer {key}"})).status

    async def becomes(key: str, expected: int) -> None:
        async def is_so() -> bool:
            return await status(key) == expected

        await eventually(is_so, f"{key} gets {expected}")

    assert (await status("another"), await status(KEY)) == (401, 200)
    file.write_text("another-key-of-clients")
    await becomes("another-key-of-clients", 200)
    assert await status(KEY) == 401
    assert redact("another-key-of-clients") == "***"
    file.unlink()
    await becomes("another-key-of-clients", 401)
    assert [await status(key) for key in (KEY, "")] == [401, 401]
    assert len(log.find("api_key_unreadable")) == 1
    # Nothing is no key.
    file.write_text("\n")
    assert await status("") == 401
    file.write_text(KEY)
    await becomes(KEY, 200)


async def test_a_file_is_read_once_a_second_and_not_where_it_need_not_be(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("MODEL_URI", "models:/demo/Production")
    token = api_key(Settings(api_key_file=file))  # type: ignore[call-arg]  # from the environment
    assert not token.is_known_in(RIGHT)
    assert await token.is_in(RIGHT)
    file.write_text("another")
    assert token.is_known_in(RIGHT)
    assert await token.is_in(RIGHT)
    assert not token.is_known_in({})
