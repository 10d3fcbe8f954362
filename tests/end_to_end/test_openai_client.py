"""OpenAI's own client, from PyPI, finds what it knows."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import SavedModels
from tests.support.server import Server

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

_PACKAGE = "openai==3.57.0"
_SCRIPT = Path(__file__).with_name("openai_client.py")
_KEY = "s3cret-key-4717"

Made = Callable[[str], Any]


@pytest.fixture(scope="session")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the client, and nothing of the server's."""
    directory = tmp_path_factory.mktemp("openai")
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    python = directory / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", _PACKAGE]
    subprocess.run([str(python), *install], check=True)
    return python


@pytest.fixture(scope="module")
def made(client_python: Path, saved: SavedModels, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What the client makes of a server whose model is of a kind, see `openai_client`."""

    @cache
    def made(kind: str) -> Any:
        scratch = tmp_path_factory.mktemp(kind)
        server = Server(scratch, MODEL_URI=str(saved.speaking(kind)), API_KEY=_KEY, MODEL_NAME="m")
        try:
            server.wait_healthy()
            command = [str(client_python), "-W", "error", str(_SCRIPT), f"{server.url}/v1"]
            client = subprocess.run(
                [*command, _KEY, kind], capture_output=True, text=True, timeout=120, check=False
            )
        finally:
            server.close()
        assert client.returncode == 0, client.stderr + server.tail()
        return json.loads(client.stdout)

    return made


chats = pytest.mark.parametrize("kind", ["chat", "agent"])
every = pytest.mark.parametrize("kind", ["chat", "agent", "responses"])


@chats
def test_a_chat_completion_is_read(made: Made, kind: str) -> None:
    plain = made(kind)["plain"]
    (choice,) = plain["choices"]
    assert (choice["finish_reason"], choice["message"]["role"]) == ("stop", "assistant")
    assert json.loads(choice["message"]["content"])["messages"][0]["content"] == "hi"
    assert (plain["model"], plain["object"]) == ("any", "chat.completion")
    assert plain["usage"]["total_tokens"] == 3


@chats
def test_content_may_come_in_parts(made: Made, kind: str) -> None:
    said = json.loads(made(kind)["parts"])
    assert [message["content"] for message in said["messages"]] == ["hi"]
    assert said.get("custom_inputs", said.get("params", {}).get("custom_inputs")) == {"a": 1}


def test_a_response_is_read(made: Made) -> None:
    plain, text = made("responses")["plain"], made("responses")["text"]
    assert (plain["model"], plain["object"], plain["status"]) == ("any", "response", "completed")
    assert plain["usage"]["total_tokens"] == 3
    said = json.loads(text)
    assert [item["content"] for item in said["input"]] == ["be brief", "hi"]
    assert said["tools"][0]["name"] == "look"


@every
def test_tools_are_called_and_what_they_found_is_sent(made: Made, kind: str) -> None:
    call = made(kind)["tool"]
    name = call["name"] if kind == "responses" else call["function"]["name"]
    assert name == "look"
    assert "found" in made(kind)["after"]


@every
def test_a_stream_is_read(made: Made, kind: str) -> None:
    streamed = made(kind)["streamed"]
    assert "".join(word or "" for word in streamed) == "one two three"
    assert made(kind)["final"] == "one two three"


@chats
def test_the_chunks_are_of_one_completion(made: Made, kind: str) -> None:
    assert (made(kind)["ids"], made(kind)["reason"]) == (1, "stop")
    assert made(kind)["events"].count("content.delta") >= 3


def test_the_events_of_a_response_are_those_that_the_client_keeps_account_of(made: Made) -> None:
    events, numbers = made("responses")["events"], made("responses")["numbers"]
    assert (events[0], events[-1]) == ("response.created", "response.completed")
    assert numbers == [*range(len(events))]
    assert made("responses")["snapshots"] == ["one ", "one two ", "one two three"]


@every
def test_the_asynchronous_client_reads_the_same(made: Made, kind: str) -> None:
    found = made(kind)["async"]
    assert "hi" in found["plain"]
    assert "".join(word or "" for word in found["streamed"]) == "one two three"


@every
def test_errors_come_as_the_client_s_own(made: Made, kind: str) -> None:
    refused, wrong_key, wrong_kind = (
        made(kind)[name] for name in ("refused", "wrong key", "wrong kind")
    )
    assert refused["type"] == "BadRequestError"
    assert "it does not like that" in refused["message"]
    assert (wrong_key["type"], wrong_key["code"]) == ("AuthenticationError", "invalid_api_key")
    assert wrong_kind["type"] == "NotFoundError"
    assert "the model that serves is a" in wrong_kind["message"]


@every
def test_an_error_in_a_stream_is_raised_after_what_came_before(made: Made, kind: str) -> None:
    assert made(kind)["before it broke"] == ["one "]
    assert made(kind)["broken"]["type"] == "APIError"
    assert "it does not like that any more" in made(kind)["broken"]["message"]


@every
def test_the_model_is_found_by_its_name(made: Made, kind: str) -> None:
    assert made(kind)["models"] == ["m"]
