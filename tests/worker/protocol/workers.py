"""Worker processes, asked over their socket pairs as the gateway asks them."""

import json
import re
from pathlib import Path
from typing import Any

from mlflow.pyfunc import PyFuncModel

from server.worker import frames
from server.worker.alias import NAME
from server.worker.frames import Answer, Kind, Outcome
from server.worker.spec import WorkerSpec
from server.worker.threads import THREAD_VARIABLES
from tests.support.processes import Processes
from tests.worker.protocol.support import JSON, mlflows_answer

_PATIENCE_SECONDS = 60.0
_LONGEST_MESSAGE = 1100


class Worker:
    """A worker process that serves one model, alone and without merging requests.

    Args:
        processes: Where it comes from.
        path: The saved model.
        directory: An empty directory for it.
    """

    def __init__(self, processes: Processes, path: Path, directory: Path) -> None:
        self._log = directory / "log"
        spec = WorkerSpec(
            path=str(path),
            directory=str(directory),
            share=False,
            threads=dict.fromkeys(THREAD_VARIABLES, "1"),
            batching="off",
            merged_formats=None,
            max_batch_rows=1,
            rehearse=False,
            rehearsal_seconds=10.0,
            hang_seconds=70.0,
            max_failures=0.05,
        )
        self._processes = processes
        with self._log.open("ab") as log:
            self._forked = processes.fork("worker", f"{NAME}.main:run", log.fileno(), forks=True)
        self._socket = self._forked.channel
        self._socket.settimeout(_PATIENCE_SECONDS)
        self._socket.sendall(b"".join(frames.encode(Kind.START, spec.parts())))
        self._reader = self._socket.makefile("rb")
        while self._receive(Kind.PHASE, Kind.READY)[0] is not Kind.READY:
            pass

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._forked.child.pid

    @property
    def log(self) -> str:
        """What it has printed and logged so far."""
        return self._log.read_text()

    def most_memory(self) -> int:
        """Return the most memory that it has had at any time, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kibibytes) * 1024

    def ask(self, body: bytes, content_type: str = JSON) -> Answer:
        """Return what it answers to a request.

        Raises:
            AssertionError: it ended instead.
        """
        parts = [frames.encode_number(1), content_type.encode(), b"request", body]
        self._socket.sendall(b"".join(frames.encode(Kind.PREDICT, parts)))
        _, (_, *answers) = self._receive(Kind.ANSWERS)
        (answer,) = frames.decode_answers(answers)
        self._receive(Kind.DONE)
        return answer

    def stop(self) -> None:
        """Close its socket pair, and wait until it has ended by itself."""
        self._reader.close()
        self._socket.close()
        assert self._forked.forks is not None
        self._forked.forks.close()
        assert self._processes.exit_code(self._forked) == 0, self.log

    def _receive(self, *expected: Kind) -> tuple[Kind, list[memoryview]]:
        header = self._reader.read(frames.HEADER_SIZE)
        assert header, f"the worker ended: {self.log}"
        kind, count, size = frames.decode_header(header)
        parts = frames.decode_parts(count, self._reader.read(size))
        assert kind in expected, [kind, *map(bytes, parts)]
        return kind, parts


class Served:
    """A saved model in a worker process, and the same one loaded directly.

    Attributes:
        worker: The process.
        model: What `mlflow.pyfunc.load_model` returns in the process of the tests.
    """

    def __init__(self, worker: Worker, model: PyFuncModel) -> None:
        self.worker = worker
        self.model = model

    def answer(self, document: Any) -> Any:
        """Return the worker's answer to a JSON document, which must be a good one."""
        return self.answer_to(json.dumps(document).encode())

    def answer_to(self, body: bytes, content_type: str = JSON) -> Any:
        """Return the worker's answer to a body, which must be a good one, without its wrapper."""
        answer = self.worker.ask(body, content_type)
        assert (answer.status, answer.outcome) == (200, Outcome.OK), answer.body[:1000]
        document = strict(answer.body)
        wrapped = isinstance(document, dict) and document.keys() == {"predictions"}
        return document["predictions"] if wrapped else document

    def refusal(self, document: Any) -> str:
        """Return why the worker refuses a JSON document."""
        return self.refusal_of(json.dumps(document).encode())

    def refusal_of(self, body: bytes, content_type: str = JSON, status: int = 400) -> str:
        """Return why the worker refuses a body, with this status."""
        return self._error(self.worker.ask(body, content_type), status, Outcome.INVALID_INPUT)

    def failure(self, document: Any) -> str:
        """Return what is said of the model's failure on a JSON document."""
        answer = self.worker.ask(json.dumps(document).encode())
        return self._error(answer, 400, Outcome.MODEL_ERROR)

    def _error(self, answer: Answer, status: int, outcome: Outcome) -> str:
        assert (answer.status, answer.outcome) == (status, outcome), answer.body[:1000]
        error = strict(answer.body)
        assert error.keys() == {"error_code", "message"}
        message: str = error["message"]
        assert 0 < len(message) < _LONGEST_MESSAGE
        return message


def assert_same_or_refused(served: Served, document: dict[str, Any]) -> None:
    """Assert that the worker refuses what MLflow refuses, and answers all else as the model does
    when it is called directly.

    Args:
        served: A model that describes its input.
        document: The JSON document to send.
    """
    try:
        expected = mlflows_answer(served.model, document)
    except Exception:
        served.refusal(document)
    else:
        assert served.answer(document) == expected


def strict(body: bytes) -> Any:
    """Read JSON by RFC 8259, refusing the bare words NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(body.decode("utf-8"), parse_constant=refuse)
