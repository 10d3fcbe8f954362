"""The settings, all from the environment."""

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.origins import parse_host, parse_origin
from server.processes.cores import available_cores
from server.processes.memory import available_memory
from server.worker import landlock, sandbox
from watcher.model_uri import ModelUri, parse_model_uri

Batching = Literal["auto", "on", "off"]
ShareModel = Literal["auto", "off"]
SandboxMode = Literal["auto", "required", "off"]
LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

MEBIBYTE = 1024 * 1024
_MOST_WORKERS = 256
_LEAST_IN_FLIGHT = 256 * MEBIBYTE
_REHEARSAL_REQUESTS = 32

# Segments of characters that need no quoting (RFC 3986, section 3.3), none of them dots only.
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")


class Settings(BaseSettings):
    """What the environment says. The description of each field is what `--help` prints."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore")

    model_uri: str = Field(
        description="The model to serve: models:/NAME/STAGE, models:/NAME@ALIAS, "
        "models:/NAME/NUMBER, models:/NAME/latest, models:/MODEL_ID, runs:/RUN_ID/PATH, or a path. "
        "The first four are watched.",
    )
    model_name: str = Field("", description="Name to show. Default: the registered model's.")
    mlflow_tracking_uri: str | None = Field(
        None, description="Where MLflow is. Default: MLflow's own. Every other MLFLOW_* works too."
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104
    port: int = Field(5001, ge=0, le=65535, description="Port to listen on. 0 takes a free one.")
    root_path: str = Field(
        "", description="Path prefix that a proxy in front keeps, such as /models/demo."
    )
    cors_allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated origins whose pages may ask, such as https://app.example.com; "
        "* for all. Default: none. What /reload answers is shown to none.",
    )

    poll_interval_seconds: float = Field(
        10.0, ge=0, le=86400, description="Seconds between polls of the registry. 0: don't watch."
    )
    workers: int = Field(
        1,
        ge=1,
        le=_MOST_WORKERS,
        description="Worker processes per model version, 1 to 256; or auto: one for each core.",
    )
    share_model: ShareModel = Field(
        "auto",
        description="Have workers share the model's memory: auto (where that is safe), off.",
    )
    preload: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        None,
        description="Comma-separated modules that workers find imported, for faster loading. "
        "Default: auto, which is what the version's flavor imports.",
    )
    batching: Batching = Field(
        "auto",
        description="Merge queued requests into one prediction: auto (only for versions that "
        "proved to treat each row by itself), on, off.",
    )
    max_batch_rows: int = Field(
        256, ge=1, le=1_000_000, description="Most rows merged into one prediction."
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Predictions at a time in one worker, 1 to 1024; requests are not merged where "
        "there are several. Default: auto, which is 32 for a model that waits for something else "
        "for most of a prediction, and 1 for any other.",
    )
    rehearsal_requests: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Recent requests that a new version must answer first. Default: 32, but none "
        "for a model that waits for something else for most of a prediction, or that speaks chat, "
        "completions or responses; a number holds for all.",
    )
    rehearsal_seconds: float = Field(
        10.0,
        gt=0,
        le=86400,
        description="Seconds that those get together; what there is no time for is left out.",
    )
    rehearsal_max_failures: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of those, 0 to 1, that a new version may fail on all the same.",
    )

    max_body_bytes: int = Field(
        64 * MEBIBYTE, ge=1, description="Largest request body, in bytes, after unpacking."
    )
    max_bytes_in_flight: int | None = Field(
        None,
        ge=1,
        description="Bytes that bodies and answers may take together, as long as this process "
        "holds them; 503 beyond it. Default: an eighth of the memory that the machine or container "
        "has, and at least 256 MiB and twice MAX_BODY_BYTES.",
    )
    max_connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Open connections; one that is idle makes room for one more, which is refused "
        "with 503 if there is none.",
    )
    max_queue: int = Field(
        1024, ge=1, le=1_000_000, description="Requests that may wait for a worker."
    )
    request_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=86400,
        validation_alias=AliasChoices(
            "request_timeout_seconds", "mlflow_scoring_server_request_timeout"
        ),
        description="Seconds that one prediction may take. Where it is not set, "
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT is asked.",
    )
    load_timeout_seconds: float = Field(
        600.0, gt=0, le=86400, description="Seconds that a version may take to load and rehearse."
    )
    drain_timeout_seconds: float = Field(
        30.0, gt=0, le=86400, description="Seconds that requests in flight get to finish."
    )
    shutdown_grace_seconds: float = Field(
        0.0, ge=0, le=86400, description="Seconds to go on serving after SIGTERM, not ready."
    )

    allow_local_sources: bool = Field(
        False,
        description="1 loads versions from any path on this machine that a registry elsewhere "
        "names. Default: only from within the artifacts of a version's run or logged model.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="Bearer token that /invocations and OpenAI's routes ask for. Default: none.",
    )
    api_key_file: Path | None = Field(None, description="File that holds the key.")
    reload_token: SecretStr | None = Field(
        None, description="Bearer token that POST /reload asks for. Default: none."
    )
    reload_token_file: Path | None = Field(None, description="File that holds the token.")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Comma-separated hosts whose pages may post to /reload without a token, such "
        "as models.example.com or models.example.com:8443; * stands for any text. Default: none "
        "but this server's own address.",
    )

    sandbox: SandboxMode = Field(
        "auto",
        description="Keep models from writing elsewhere, and from other processes: auto (as far as "
        "the kernel can), required (don't start where it can't do all of it), off.",
    )
    sandbox_writable: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated files and folders that models may write to all the same."
    )

    log_level: LogLevel = Field("info", description="debug, info, warning or error.")
    log_format: LogFormat | None = Field(
        None, description="json or console. Default: console on a terminal, else json."
    )
    access_log: bool = Field(False, description="1 logs every request.")

    @field_validator("workers", mode="before")
    @classmethod
    def _counted(cls, value: object) -> object:
        if isinstance(value, str) and value.strip().lower() == "auto":
            return min(_MOST_WORKERS, available_cores())
        return value

    @field_validator("concurrency", mode="before")
    @classmethod
    def _measured(cls, value: object) -> object:
        automatic = isinstance(value, str) and value.strip().lower() == "auto"
        return None if automatic else value

    @field_validator("log_level", "log_format", "batching", "share_model", "sandbox", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator(
        "preload", "cors_allowed_origins", "allowed_hosts", "sandbox_writable", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("preload")
    @classmethod
    def _by_flavor(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is not None and [*map(str.lower, value)] == ["auto"] else value

    @field_validator("model_uri")
    @classmethod
    def _is_model_uri(cls, value: str) -> str:
        parse_model_uri(value)
        return value

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        prefix = value.rstrip("/")
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError("begins with a slash, and is written as in an address")
        return prefix

    @field_validator("cors_allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_origin(text) for text in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_host(text) for text in value)

    @field_validator("reload_token", "api_key")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        token = SecretStr(value.get_secret_value().strip()) if value is not None else None
        if token is not None and not token:
            raise ValueError("it is nothing but white space")
        return token

    @field_validator("sandbox")
    @classmethod
    def _can_be_held(cls, value: SandboxMode) -> SandboxMode:
        if value == "required" and (lacking := sandbox.lacking(landlock.abi())):
            raise ValueError(lacking)
        return value

    @field_validator("sandbox_writable")
    @classmethod
    def _are_there(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not Path(path).exists():
                raise ValueError(f"there is no {path!r}")
        return tuple(str(Path(path).resolve()) for path in value)

    @field_validator("reload_token_file", "api_key_file")
    @classmethod
    def _is_readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if self.reload_token is not None and self.reload_token_file is not None:
            raise ValueError("RELOAD_TOKEN and RELOAD_TOKEN_FILE are both set")
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("API_KEY and API_KEY_FILE are both set")
        return self

    @model_validator(mode="after")
    def _merged_or_at_once(self) -> Self:
        if self.batching == "on" and (self.concurrency or 1) > 1:
            raise ValueError(
                f"BATCHING=on and CONCURRENCY={self.concurrency} can't be had together: requests "
                "are merged, or several are predicted at a time"
            )
        return self

    @property
    def uri(self) -> ModelUri:
        """MODEL_URI, parsed."""
        return parse_model_uri(self.model_uri)

    @property
    def name(self) -> str:
        """MODEL_NAME, or what the URI suggests."""
        return self.model_name or self.uri.default_model_name

    @property
    def requests_kept(self) -> int:
        """How many recent requests may rehearse the next version."""
        given = self.rehearsal_requests
        return _REHEARSAL_REQUESTS if given is None else given

    @property
    def bytes_in_flight(self) -> int:
        """MAX_BYTES_IN_FLIGHT, or what suits the memory that there is."""
        share = available_memory() // 8
        return self.max_bytes_in_flight or max(share, _LEAST_IN_FLIGHT, 2 * self.max_body_bytes)

    @property
    def asks_for_token(self) -> bool:
        """Whether `/reload` is guarded by a token."""
        return self.reload_token is not None or self.reload_token_file is not None

    @property
    def log_as_json(self) -> bool:
        """Whether the log is JSON: unless asked otherwise, wherever no person is looking."""
        if self.log_format is None:
            return not sys.stdout.isatty()
        return self.log_format == "json"


def mlflow_version() -> str:
    """The installed MLflow's version, without importing it."""
    return importlib.metadata.version("mlflow")
