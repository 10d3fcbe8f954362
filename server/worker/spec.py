"""What a process is told when it starts: the parts of its START frame."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that was answered well, and its answer."""

    content_type: bytes
    body: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class DownloadSpec:
    """What a process that fetches a version is told.

    Attributes:
        load_uri: The model version.
        directory: The release's own directory, for the download and for temporary files.
        registered: Whether a registry says where the files are, rather than whoever runs the
            server.
    """

    load_uri: str
    directory: str
    registered: bool

    def parts(self) -> list[bytes]:
        """As parts of a frame."""
        return [json.dumps(asdict(self)).encode()]

    @classmethod
    def of(cls, parts: Sequence[memoryview]) -> "DownloadSpec":
        """Read the parts of a frame."""
        return cls(**json.loads(bytes(parts[0])))


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a process that loads a version is told.

    Attributes:
        path: Where the model lies.
        directory: The release's own directory, for temporary files.
        share: Whether to fork the workers, where that is safe, rather than be one.
        threads: What `THREAD_VARIABLES` are to be in a worker.
        batching: The BATCHING setting: `auto`, `on` or `off`.
        merged_formats: What another process of the release has proved, or None to prove it.
        concurrency: The CONCURRENCY setting; None where that is to be found.
        slots: What another process of the release has found, or None to find it.
        max_batch_rows: Most rows in one prediction of merged requests.
        rehearse: Whether to try the model's own example, and to refuse a model that answers
            `recorded` worse.
        rehearsal_seconds: After how many seconds no other of `recorded` is begun with.
        hang_seconds: What all that may take, or it is a hang.
        max_failures: The share of those answered worse up to which the model is not refused.
        recorded: Real requests to answer before anyone waits.
        replay_always: Whether also of a model whose every answer may cost money, or do something.
        example_decides: Whether to refuse a model that fails on its own example, where no
            recorded request speaks for it.
        only_recorded: Whether to ask the model nothing but `recorded`: a process before this one
            ended or hung over the example, or over rows like it.
        sandbox: The SANDBOX setting: `auto`, `required` or `off`.
        writable: Where the model may write, besides its own directory and `/dev`.
    """

    path: str
    directory: str
    share: bool
    threads: Mapping[str, str]
    batching: str
    merged_formats: tuple[str, ...] | None
    max_batch_rows: int
    rehearse: bool
    rehearsal_seconds: float
    hang_seconds: float
    max_failures: float
    recorded: tuple[RecordedRequest, ...] = ()
    replay_always: bool = False
    concurrency: int | None = None
    slots: int | None = None
    example_decides: bool = True
    only_recorded: bool = False
    sandbox: str = "auto"
    writable: tuple[str, ...] = ()

    def parts(self) -> list[bytes]:
        """As parts of a frame: all but the requests as a JSON object, then those."""
        told = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name != "recorded"
        }
        requests = [
            part
            for request in self.recorded
            for part in (request.content_type, request.body, request.answer)
        ]
        return [json.dumps(told).encode(), *requests]

    @classmethod
    def of(cls, parts: Sequence[memoryview]) -> "WorkerSpec":
        """Read the parts of a frame."""
        told = json.loads(bytes(parts[0]))
        if told["merged_formats"] is not None:
            told["merged_formats"] = tuple(told["merged_formats"])
        told["writable"] = tuple(told["writable"])
        requests = map(bytes, parts[1:])
        recorded = tuple(
            RecordedRequest(*each) for each in zip(requests, requests, requests, strict=True)
        )
        return cls(**told, recorded=recorded)
