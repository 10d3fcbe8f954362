"""OpenAI's routes: who answers them, and how errors are told there."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from server.http.errors import in_openais_shape
from server.http.paths import is_openais
from tests.conftest import Connect, StartGateway
from tests.support.answers import Answer
from tests.support.gateway import Client, Gateway
from tests.support.models import SavedModels

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
KINDS = ("chat", "agent", "responses")
ROUTES = {"chat": CHAT, "agent": CHAT, "responses": RESPONSES}


def asking(kind: str, text: str = "hi", **fields: Any) -> dict[str, Any]:
    """A request that such a model answers."""
    if kind == "responses":
        return {"model": "any", "input": text, **fields}
    return {"model": "any", "messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture(scope="module")
async def gateways(start_gateway: StartGateway, saved: SavedModels) -> dict[str, Gateway]:
    """Gateways that each serve a model of one kind, under a prefix as well."""
    return {
        kind: await start_gateway(saved.speaking(kind), root_path="/models/demo") for kind in KINDS
    }


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """What a model speaks."""
    name: str = request.param
    return name


@pytest.fixture
async def speaker(gateways: dict[str, Gateway], kind: str, connect: Connect) -> Client:
    """A client of a gateway whose model is of that kind."""
    return await connect(gateways[kind])


def error_of(answer: Answer) -> Any:
    """The error, which must have OpenAI's shape."""
    assert set(answer.json) == {"error"}
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    return answer.json["error"]


@pytest.mark.parametrize("prefix", ["", "/models/demo"])
@pytest.mark.parametrize("end", ["", "/"])
async def test_a_model_answers_its_route(speaker: Client, kind: str, prefix: str, end: str) -> None:
    answer = await speaker.request("POST", f"{prefix}{ROUTES[kind]}{end}", asking(kind))
    assert answer.status == 200
    assert answer.json["object"] == ("response" if kind == "responses" else "chat.completion")
    assert answer.version == "1"
    assert answer.headers["x-request-id"]


async def test_a_responses_agent_answers_where_mlflows_server_has_it(
    gateways: dict[str, Gateway], connect: Connect
) -> None:
    client = await connect(gateways["responses"])
    answer = await client.request("POST", "/responses", asking("responses"))
    assert (answer.status, answer.json["object"]) == (200, "response")


async def test_a_model_of_another_kind_says_what_to_use(
    gateways: dict[str, Gateway], connect: Connect, client: Client
) -> None:
    told = {
        ("chat", RESPONSES): "/v1/responses is for a ResponsesAgent, and the model that serves is "
        "a ChatModel: use /v1/chat/completions",
        ("agent", "/responses"): "/v1/responses is for a ResponsesAgent, and the model that serves "
        "is a ChatAgent: use /v1/chat/completions",
        ("responses", CHAT): "/v1/chat/completions is for a ChatModel or ChatAgent, and the model "
        "that serves is a ResponsesAgent: use /v1/responses",
        ("none", CHAT): "/v1/chat/completions is for a ChatModel or ChatAgent, and the model that "
        "serves is none: use /invocations",
    }
    for (kind, route), reason in told.items():
        asked = client if kind == "none" else await connect(gateways[kind])
        answer = await asked.request("POST", route, asking("chat"))
        assert answer.status == 404
        assert error_of(answer) == {
            "message": reason,
            "type": "invalid_request_error",
            "param": None,
            "code": "endpoint_not_found",
        }


async def test_the_model_is_listed(speaker: Client, kind: str) -> None:
    name = speaker.gateway.settings.name
    answer = await speaker.get("/v1/models")
    (model,) = answer.json["data"]
    assert answer.json["object"] == "list"
    assert (model["id"], model["object"], model["owned_by"]) == (name, "model", "mlflow")
    assert model["created"] > 0
    assert (await speaker.get(f"/v1/models/{name}")).json == model
    missing = await speaker.get("/v1/models/another")
    assert missing.status == 404
    assert error_of(missing)["code"] == "model_not_found"


async def test_a_model_that_speaks_neither_is_not_listed(client: Client) -> None:
    assert (await client.get("/v1/models")).json == {"object": "list", "data": []}


async def test_the_description_tells_of_the_model_s_routes(
    speaker: Client, kind: str, client: Client
) -> None:
    described = (await speaker.get("/openapi.json")).json["paths"]
    assert {CHAT, RESPONSES} & described.keys() == {ROUTES[kind]}
    assert "/v1/models" in described
    assert not [path for path in (await client.get("/openapi.json")).json["paths"] if "v1" in path]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "", b"{", 400, "bad_request"),
        ("POST", "", {}, 400, "bad_request"),
        ("GET", "", None, 405, "method_not_allowed"),
        ("POST", "/v1/embeddings", {}, 404, "endpoint_not_found"),
        ("GET", "/v1", None, 404, "endpoint_not_found"),
        ("GET", "/models/demo/v1/files/", None, 404, "endpoint_not_found"),
    ],
)
async def test_errors_have_openais_shape(
    speaker: Client, kind: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await speaker.request(method, path or ROUTES[kind], body)
    assert answer.status == status
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert answer.headers["content-type"] == "application/json; charset=utf-8" or (
        answer.headers["content-type"] == "application/json"
    )


async def test_what_the_model_raises_is_told_in_openais_shape(speaker: Client, kind: str) -> None:
    for fields in ({}, {"stream": True}):
        answer = await speaker.request("POST", ROUTES[kind], asking(kind, "raise", **fields))
        if kind == "agent" and fields:
            continue
        assert answer.status == 400
        assert "it does not like that" in error_of(answer)["message"]
        assert answer.version == "1"


async def test_a_body_that_is_too_large_is_refused_in_openais_shape(
    start_gateway: StartGateway, connect: Connect
) -> None:
    client = await connect(await start_gateway(max_body_bytes=1000))
    answer = await client.request("POST", CHAT, b"x" * 2000)
    assert (answer.status, error_of(answer)["code"]) == (413, "request_limit_exceeded")
    # Where no model serves.
    answer = await client.request("POST", CHAT, asking("chat"))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert error_of(answer)["type"] == "server_error"


async def test_the_key_is_asked_for(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    client = await connect(await start_gateway(saved.speaking("chat"), api_key="s3cret-key"))
    for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("POST", "/responses")):
        answer = await client.request(method, path, asking("chat"))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error_of(answer)["code"] == "invalid_api_key"
    right = {"Authorization": "Bearer s3cret-key"}
    assert (await client.request("POST", CHAT, asking("chat"), right)).status == 200
    assert (await client.get("/v1/models", right)).status == 200


async def test_a_stream_is_of_events(speaker: Client, kind: str) -> None:
    async with (
        ClientSession() as session,
        session.post(speaker.url + ROUTES[kind], json=asking(kind, stream=True)) as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Model-Version"] == "1"
        *lines, end, after = (await response.text()).split("\n\n")
    assert (end, after) == ("data: [DONE]", "")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    if kind == "responses":
        assert [chunks[place]["type"] for place in (0, -1)] == [
            "response.created",
            "response.completed",
        ]
        words = [chunk["delta"] for chunk in chunks if chunk["type"].endswith(".delta")]
    else:
        words = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
    assert "".join(word or "" for word in words) == "one two three"


async def test_an_error_in_a_stream_has_openais_shape(speaker: Client, kind: str) -> None:
    answer = await speaker.request("POST", ROUTES[kind], asking(kind, "raise later", stream=True))
    assert answer.status == 200
    *_, last, end, _ = answer.body.split(b"\n\n")
    assert end == b"data: [DONE]"
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "it does not like that any more" in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"message": "a"}', b"\xff"])
def test_an_error_of_no_known_shape_is_told_as_one(body: bytes) -> None:
    error = json.loads(in_openais_shape(500, body))["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1", True),
        ("/v1/", True),
        ("/v1/anything", True),
        ("/a/v1/chat/completions", True),
        ("/a/responses/", True),
        ("/responses", True),
        ("/v10", False),
        ("/invocations", False),
        ("/responses/1", False),
        ("/b/v1/models", False),
    ],
)
def test_openais_paths_are_known(path: str, expected: bool) -> None:
    assert is_openais(path, "/a") == expected
