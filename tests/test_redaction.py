"""What nobody gets to read, and what everybody still does."""

import json
import string
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server import redaction
from server.redaction import hide_credentials, hide_token, redact, redact_json, redact_value

SECRET = "S3cret"  # noqa: S105

# Each holds the secret, or a part of it that would give it away.
HIDES = [
    # The user information of URLs
    "http://svc:S3cret@host/path",
    "http://svc:S3cret'x@host/path",
    'http://svc:x"S3cret@host/path',
    "http://svc:x>S3cret@host/path",
    "http://S3cret@host",
    "https://:S3cret@host",
    "https://S3cret:@host",
    "http://svc:x@S3cret@host:5000/path",
    "http://svc:x:S3cret@host",
    "http://svc:x%40S3cret@host",
    "http://12345:S3cret@host",
    "http://svc:1234S3cret@host",
    "http://svc:S3cret@[::1]:5000/path",
    "http://svc:S3cret/x@host/path@champion",
    "HTTPS://svc:S3cret#x?y@host",
    "postgres://u:S3cret/ss@db",
    "postgresql+psycopg2://u:12345/S3cret@db:5432/mlflow",
    "postgresql://svc:S3cret@db/x?options=a@b",
    "mysql://u:S3cret@a:3306,b:3306/x",
    "redis://:S3cret@host:6379/0",
    "amqp://u:#S3cret?@host//",
    "can't connect to 'postgres://u:S3cret@db' (refused)",
    "(psycopg2) <postgres://u:S3cret@db>: no such host",
    "http://a:S3cret@h,http://b:S3cret@h",
    "proxies={'https': 'http://u:S3cret@proxy:3128'}",
    r"{\"url\": \"http:\/\/u:S3cret@host\"}",
    "ünïcode://ü:S3cretß@höst",
    # What stands in a query
    "jdbc:postgresql://db/x?user=u&password=S3cret",
    "postgres://db/x?user=u&password=S3cret&sslmode=require",
    "https://host/x?api_key=S3cret",
    "https://host/x?API-KEY=S3cret#part",
    "https://host/x?apikey=S3cret",
    "https://host/x?a=b&amp;password=S3cret",
    "https://host/x?key=S3cret&page=2",
    "https://host/x?access_token=S3cret",
    "https://host/x?auth=S3cret",
    "https://host/x?password=x'S3cret",
    "https://host/x?password=x;S3cret",
    "GET '/x?token=S3cret' failed",
    "https://s3/x?X-Amz-Credential=S3cret&X-Amz-Date=1",
    "https://s3/x?X-Amz-Security-Token=S3cret",
    "https://s3/x?a=b&X-Amz-Signature=S3cret&c=d",
    "https://gcs/x?X-Goog-Signature=S3cret",
    "https://blob/x?sv=2020&sig=S3cret%3D",
    "https://host/login?next=http%3A%2F%2Fx%3Fpassword%3DS3cret%26a%3Db",
    # Connection strings, and settings
    "Driver=x;Server=y;Database=z;password=S3cret;Encrypt=yes",
    "Driver=x;UID=u;PWD={x;S3cret};Encrypt=yes",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BUID%3Du%3BPWD%3DS3cret%3BDatabase%3Dx",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=S3cret==;EndpointSuffix=y",
    "Endpoint=sb://x/;SharedAccessKeyName=y;SharedAccessKey=S3cret=",
    "host=db user=u password=S3cret dbname=x",
    "host=db user=u password='x S3cret' dbname=x",
    "connect(host='db', password='S3cret')",
    "MLFLOW_TRACKING_PASSWORD=S3cret python train.py",
    "AWS_SECRET_ACCESS_KEY = S3cret",
    "OPENAI_API_KEY=S3cret,x",
    '{"password": "S3cret", "user": "u"}',
    "{'client_secret': 'S3cret'}",
    r"{\"api_key\": \"S3cret\"}",
    "Authorization: Bearer S3cretS3cret",
    "{'Authorization': 'Basic S3cretS3cret'}",
]

KEEPS = [
    "",
    "plain text",
    "mail a@b.org // or ring",
    "//see//there: a@b.org",
    "C:\\models\\x//y@z",
    "\\\\share\\folder@2",
    "file:///C:/models/x@y",
    "file:///tmp/model@2/MLmodel",
    "models:/demo@champion",
    "models:/demo/Production",
    "s3://bucket/models/x@v1",
    "runs:/0123/model",
    "http://host:5000/api/x@champion",
    "http://host:5000/x?name=demo&alias=a@b",
    "http://host/x?page=2&order=name",
    "http://[::1]:5000/x@champion",
    "see http://example.com: mail me@example.com",
    "'http://host' and 'me@example.com'",
    '{"url":"http://host","mail":"me@example.com"}',
    '{"url":"http://host:80","mail":"me@example.com"}',
    "http://host:5000, then me@example.com",
    "git@github.com:org/repository.git",
    "send token=abc with it",
    "send the reload token: Authorization: Bearer TOKEN",
    "Basic authentication failed",
    "the password is wrong",
    "password: too short",
    "a secret = was kept".replace(" = ", " - "),
    "max_tokens=5, pad_token=<pad>, eos_token='</s>'",
    "sorted(rows, key=len)",
    "sort_key=created",
    "signature=inputs: ['text': string]",
    "column 'password' is missing",
    "x://y",
    "://@ ://: @://",
    "HTTPConnectionPool(host='mlflow', port=5000): Max retries with url: /x?name=y",
    "100 % of 3 = 3; a&b?c",
]


@pytest.fixture(autouse=True)
def _knowing_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_sources", {})
    monkeypatch.setattr(redaction, "_known", redaction._Known())


@pytest.mark.parametrize("text", HIDES)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    assert SECRET in text
    shown = redact(text)
    assert SECRET not in shown
    assert "***" in shown


@pytest.mark.parametrize("text", KEEPS)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_around_a_credential_the_text_stays() -> None:
    assert redact("GET http://svc:S3cret@host:5000/x: 403") == "GET http://***@host:5000/x: 403"
    assert redact("https://host/x?a=b&sig=S3cret&c=d") == "https://host/x?a=b&sig=***&c=d"
    assert redact("host=db password=S3cret dbname=x") == "host=db password=*** dbname=x"


@given(st.text())
def test_what_is_hidden_once_is_not_changed_again(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


# What each could make a pattern try again and again.
_PIECES = [
    *("://", "://u:", "http://u:p@", "@", ":", "/", "?", "&", ";", "=", "'", '"', "{", "\\", " "),
    *("password", "password=", "password =", "password='", "'password':", '"password":"', "pwd={"),
    *("?password=&", "&token", "?key=", "&x-amz-", "api_key", "secret_", "-a", ".", "a", "é", "\n"),
    *("authorization: ", "authorization=x ", "%3F", "%3Fpassword%3D", "%3B", ":\\/\\/", "http://1"),
]
_MEGABYTE = 1_000_000


def seconds(text: str) -> float:
    """Processor time that it takes to hide the credentials in a text."""
    began = time.process_time()
    redact(text)
    return time.process_time() - began


@pytest.mark.parametrize("piece", _PIECES)
def test_a_megabyte_takes_no_longer_than_one_does(piece: str) -> None:
    # Linear: some tenths of a second. What is not takes minutes at the least.
    assert seconds(piece * (_MEGABYTE // len(piece))) < 5


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6))
def test_nor_do_pieces_that_alternate(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert seconds(text * (_MEGABYTE // 4 // len(text))) < 1.5


# Those of the server itself

LONG = "pa/ss w'rd+\"4711%&é"

_GIVEN = {
    "PASSWORD": {"DB_PASSWORD": LONG},
    "PGPASSWORD": {"PGPASSWORD": LONG},
    "SECRET": {"SECRET_OF_THE_STORE": LONG},
    "KEY": {"SOME_API_KEY": LONG},
    "key in lower case": {"some_api_key": LONG},
    "AWS": {"AWS_SECRET_ACCESS_KEY": LONG},
    "AWS's id": {"AWS_ACCESS_KEY_ID": LONG},
    "AWS's token": {"AWS_SESSION_TOKEN": LONG},
    "TOKEN": {"MLFLOW_TRACKING_TOKEN": f" {LONG}\n"},
    "the tracking URI's": {"MLFLOW_TRACKING_URI": f"http://svc:{quote(LONG, safe='')}@host:5000"},
    "the registry URI's": {"MLFLOW_REGISTRY_URI": f"postgresql://svc:{quote(LONG)}@db/mlflow"},
    "a token as user": {"MLFLOW_TRACKING_URI": f"http://{quote(LONG, safe='')}@host"},
    "in a query": {"MLFLOW_TRACKING_URI": f"http://host/?a=b&api_key={quote(LONG, safe='')}"},
    "in a connection string": {"STORE": f"Account=x;AccountKey={{{LONG}}};Suffix=y"},
}


@pytest.mark.parametrize("environment", _GIVEN.values(), ids=_GIVEN.keys())
def test_a_credential_of_the_environment_is_hidden_however_it_is_written(
    environment: dict[str, str],
) -> None:
    hide_credentials(environment)
    encoded = [quote(LONG), quote(LONG, safe=""), quote_plus(LONG), quote(LONG, safe=" +")]
    lower = ["".join(c.lower() if c in "ABCDEF" else c for c in text) for text in encoded]
    for text in (LONG, *encoded, *lower):
        for written in (text, json.dumps(text)[1:-1], repr(text)[1:-1]):
            assert "4711" in written
            assert redact(f"refused: {written}, alas") == "refused: ***, alas"


def test_short_ones_are_hidden_in_urls_only() -> None:
    hide_credentials({"DB_PASSWORD": "test", "OTHER_SECRET": "a.b"})
    for text in ("a test of tests", "test", "test@example.com", "x=test", "file:/test"):
        assert redact(text) == text
    assert redact("http://host/test/tests?name=tests") == "http://host/test/tests?name=tests"
    assert redact("x://host?given=test.") == "x://host?given=test."
    assert redact("http://u:1/test@h") == "http://u:1/***@h"
    assert redact("x://host?given=test") == "x://host?given=***"
    assert redact("x://host?given=a.b&c=axb") == "x://host?given=***&c=axb"


def test_what_is_no_credential_of_the_environment_stays(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.touch()
    environment = {
        "PWD": "/some/directory",
        "OLDPWD": "/another/directory",
        "SSL_KEY": str(file),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "MLFLOW_TRACKING_URI": "http://registry.example:5000/path@champion",
        "TOKENIZERS_PARALLELISM": "disabled",
        "EMPTY_TOKEN": "",
        "BLANK_TOKEN": " ",
    }
    hide_credentials(environment)
    for text in ("", " ", *environment.values(), " ".join(environment.values())):
        assert redact(text) == text


def test_of_two_that_begin_alike_nothing_is_left() -> None:
    hide_credentials({"A_TOKEN": "12345678", "B_TOKEN": "12345678-the-longer"})
    assert redact("12345678-the-longer, 12345678") == "***, ***"


def test_a_token_from_a_file_is_hidden_until_another_takes_its_place() -> None:
    hide_credentials({"DB_PASSWORD": "of-the-database"})
    hide_token("the-first-token", "one")
    assert redact("the-first-token of-the-database") == "*** ***"
    hide_token("the-second-token", "one")
    hide_token("of-another-name", "other")
    assert redact("the-first-token the-second-token") == "the-first-token ***"
    assert redact("of-another-name") == "***"
    hide_token("", "one")
    hide_token("", "other")
    assert redact("of-the-database, and nothing else") == "***, and nothing else"


_secrets = st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=8)


@given(_secrets, st.sampled_from([str, quote, quote_plus]))
def test_any_secret_is_hidden(secret: str, write: type[str]) -> None:
    if not secret.strip() or len(secret.strip()) < 8:
        return
    hide_credentials({"ANY_SECRET": secret})
    written = write(secret.strip())
    assert written not in redact(f"<{written}>")


# Values, and documents


def test_texts_are_hidden_wherever_a_value_holds_them() -> None:
    url = "http://u:p@h"
    value = {"a": url, "b": [url, 1, None, {"c": (url, 2.5, True)}], "d": 7}
    shown = "http://***@h"
    expected = {"a": shown, "b": [shown, 1, None, {"c": [shown, 2.5, True]}], "d": 7}
    assert redact_value(value) == expected


@given(st.text(string.printable))
def test_a_document_stays_one_whatever_is_hidden_in_it(text: str) -> None:
    hide_credentials({"ANY_SECRET": 'quote"back\\slash'})
    body = orjson.dumps({"message": f'quote"back\\slash http://u:{text}@h {text}'})
    shown = orjson.loads(redact_json(body))["message"]
    assert "back" not in shown or "back" in text


def test_a_document_in_which_nothing_is_hidden_stays_as_it_was_written() -> None:
    body = b'{ "error_code" : "BAD_REQUEST", "message": "caf\\u00e9" }'
    assert redact_json(body) is body


def test_what_is_no_json_is_taken_for_a_text() -> None:
    assert redact_json(b"http://u:p@h \xff") == b"http://***@h \\xff"
