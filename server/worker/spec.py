"""What a worker is told when it starts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that was answered well, and its answer."""

    content_type: bytes
    body: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a worker is told when it starts.

    Attributes:
        load_uri: The model version to fetch; unused when `path` holds it already.
        directory: The release's own directory, for the download and for temporary files.
        path: Where the model lies, if another worker of the release has fetched it.
        log_level: As in the gateway.
        threads: Most BLAS and OpenMP threads, or None to leave what the user set.
        batching: The BATCHING setting: `auto`, `on` or `off`.
        merged_formats: What another worker of the release has proved, or None to prove it.
        max_batch_rows: Most rows in one prediction of merged requests.
        rehearse: Whether to try the model's own example, and to refuse a model that answers
            `recorded` worse.
        recorded: Real requests to answer before anyone waits.
        example_decides: Whether to refuse a model that fails on its own example, where no
            recorded request speaks for it.
        only_recorded: Whether to ask the model nothing but `recorded`: a worker before this one
            ended or hung over the example, or over rows like it.
    """

    load_uri: str
    directory: str
    path: str | None
    log_level: str
    threads: int | None
    batching: str
    merged_formats: tuple[str, ...] | None
    max_batch_rows: int
    rehearse: bool
    recorded: tuple[RecordedRequest, ...]
    example_decides: bool = True
    only_recorded: bool = False
