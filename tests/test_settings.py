"""Reading the settings from the environment."""

import os
from pathlib import Path

import pytest

from server.reading import BadSettings, read_settings
from server.settings import Settings
from server.usage import help_text


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with nothing but a MODEL_URI."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.delenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", raising=False)
    monkeypatch.setenv("MODEL_URI", "models:/demo/Production")


def test_the_defaults_are_those_that_people_know() -> None:
    settings = read_settings()
    assert (settings.port, settings.poll_interval_seconds, settings.workers) == (5001, 10, 1)
    assert settings.name == "demo"


def test_a_model_name_replaces_the_registered_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "the demo")
    assert read_settings().name == "the demo"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    assert read_settings().port == 5001


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("POLL_INTERVAL_SECONDS", "-1"),
        ("POLL_INTERVAL_SECONDS", "nan"),
        ("POLL_INTERVAL_SECONDS", "inf"),
        ("WORKERS", "0"),
        ("WORKERS", "1.5"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_BYTES_IN_FLIGHT", "0"),
        ("MAX_QUEUE", "none"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("LOAD_TIMEOUT_SECONDS", "0"),
        ("DRAIN_TIMEOUT_SECONDS", "-3"),
        ("BATCHING", "sometimes"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "1025"),
        ("CONCURRENCY", "many"),
        ("REHEARSAL_REQUESTS", "-1"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("MODEL_URI", "models:/demo/a/b"),
        ("MODEL_URI", "runs:/0123"),
        ("RELOAD_TOKEN_FILE", "/there/is/no/such/file"),
        ("API_KEY_FILE", "/there/is/no/such/file"),
        ("ROOT_PATH", "models/demo"),
        ("ROOT_PATH", "/models//demo"),
        ("ROOT_PATH", "/models/../demo"),
        ("ROOT_PATH", "/models/{name}"),
        ("ROOT_PATH", "/models?a=b"),
        ("ROOT_PATH", "https://example.com/models"),
        ("SANDBOX", "yes"),
        ("SANDBOX_WRITABLE", "/dev/null,/there/is/no/such"),
        ("CORS_ALLOWED_ORIGINS", "app.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://app.example.com/page"),
        ("CORS_ALLOWED_ORIGINS", "https://*.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://a.example.com https://b.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://"),
        ("ALLOWED_HOSTS", "models.example.com/path"),
        ("ALLOWED_HOSTS", "a.example.com b.example.com"),
        ("ALLOWED_HOSTS", "ftp://models.example.com"),
        ("ALLOWED_HOSTS", "https://"),
        ("ALLOWED_HOSTS", "null://"),
    ],
)
def test_a_bad_value_is_named_with_what_it_got_and_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings) as caught:
        read_settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}={value!r}")
    assert str(Settings.model_fields[variable.lower()].description) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("own", "mlflows", "seconds"),
    [
        (None, None, 60),
        (None, "7", 7),
        ("5", "7", 5),
        ("", "7", 7),
        ("5", "soon", 5),
        (None, "", 60),
    ],
)
def test_mlflows_timeout_is_the_default_of_the_servers_own(
    monkeypatch: pytest.MonkeyPatch, own: str | None, mlflows: str | None, seconds: float
) -> None:
    if own is not None:
        monkeypatch.setenv("REQUEST_TIMEOUT_SECONDS", own)
    if mlflows is not None:
        monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", mlflows)
    assert read_settings().request_timeout_seconds == seconds
    assert "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT" in help_text()


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "60s"])
@pytest.mark.parametrize(
    "variable", ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "request_timeout_seconds"]
)
def test_a_bad_value_is_said_of_the_variable_that_holds_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadSettings) as caught:
        read_settings()
    assert str(caught.value).startswith(f"{variable.upper()}={value!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "concurrency"),
    [("", None), ("auto", None), (" Auto ", None), ("1", 1), ("1024", 1024)],
)
def test_how_many_predictions_at_a_time_is_measured_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, given: str, concurrency: int | None
) -> None:
    monkeypatch.setenv("CONCURRENCY", given)
    assert read_settings().concurrency == concurrency


@pytest.mark.parametrize(
    ("given", "modules"),
    [
        ("", None),
        ("auto", None),
        (" Auto ", None),
        ("sklearn", ("sklearn",)),
        ("torch, xgboost", ("torch", "xgboost")),
        (",", ()),
    ],
)
def test_what_is_imported_ahead_follows_the_version_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, given: str, modules: tuple[str, ...] | None
) -> None:
    monkeypatch.setenv("PRELOAD", given)
    assert read_settings().preload == modules


def test_merging_and_several_at_a_time_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHING", "on")
    monkeypatch.setenv("CONCURRENCY", "1")
    assert read_settings().concurrency == 1
    monkeypatch.setenv("CONCURRENCY", "4")
    with pytest.raises(BadSettings, match=r"^BATCHING=on and CONCURRENCY=4 can't be had together"):
        read_settings()


@pytest.mark.parametrize(("given", "set_", "kept"), [("", None, 32), ("0", 0, 0), ("32", 32, 32)])
def test_a_number_of_rehearsed_requests_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, given: str, set_: int | None, kept: int
) -> None:
    monkeypatch.setenv("REHEARSAL_REQUESTS", given)
    settings = read_settings()
    assert (settings.rehearsal_requests, settings.requests_kept) == (set_, kept)


@pytest.mark.parametrize(
    ("given", "prefix"), [("/a", "/a"), ("/a/b-c.d/", "/a/b-c.d"), ("/", ""), ("", "")]
)
def test_a_prefix_is_written_without_a_slash_at_the_end(
    monkeypatch: pytest.MonkeyPatch, given: str, prefix: str
) -> None:
    monkeypatch.setenv("ROOT_PATH", given)
    assert read_settings().root_path == prefix


def test_origins_are_read_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "HTTPS://App.Example.com:443/, http://localhost:3000,http://[::1]:80, null,"
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", given)
    assert read_settings().cors_allowed_origins == (
        "https://app.example.com",
        "http://localhost:3000",
        "http://[::1]",
        "null",
    )
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", "*")
    assert read_settings().cors_allowed_origins == ("*",)


def test_allowed_hosts_are_read_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "Models.Example.com:8443, https://a.example.com:443/,[::1]:5001, *.apps.example.com,*,"
    monkeypatch.setenv("ALLOWED_HOSTS", given)
    assert read_settings().allowed_hosts == (
        *("models.example.com:8443", "https://a.example.com", "[::1]:5001"),
        *("*.apps.example.com", "*"),
    )


def test_a_missing_model_uri_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_URI")
    with pytest.raises(BadSettings, match="MODEL_URI is not set"):
        read_settings()


secrets = pytest.mark.parametrize("variable", ["RELOAD_TOKEN", "API_KEY"])


@secrets
def test_a_secret_may_be_in_a_file_but_not_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    settings = read_settings()
    assert settings.asks_for_token == (variable == "RELOAD_TOKEN")
    assert "s3cret" not in repr(settings)

    monkeypatch.setenv(variable, "s3cret")
    with pytest.raises(
        BadSettings, match=f"^{variable} and {variable}_FILE are both set"
    ) as caught:
        read_settings()
    assert "s3cret" not in str(caught.value)


@secrets
def test_a_secret_is_not_in_the_settings_text(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "s3cret")
    settings = read_settings()
    assert settings.asks_for_token == (variable == "RELOAD_TOKEN")
    assert "s3cret" not in repr(settings)


@secrets
def test_white_space_around_a_secret_is_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, " s3cret\n")
    secret = getattr(read_settings(), variable.lower())
    assert secret.get_secret_value() == "s3cret"


@secrets
def test_a_secret_of_white_space_alone_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, " \n")
    with pytest.raises(BadSettings, match=rf"^{variable} can't be used: .* white space$"):
        read_settings()


def test_help_names_every_setting_with_its_unit_and_default() -> None:
    text = help_text()
    for name, field in Settings.model_fields.items():
        assert f"  {name.upper()}" in text
        assert field.description is not None
        assert field.description in text
        if name.endswith("_seconds"):
            assert "second" in field.description.lower()
    assert "POLL_INTERVAL_SECONDS (default 10)" in text
    assert "MODEL_URI (required)" in text
