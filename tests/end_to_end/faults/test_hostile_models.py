"""Models that do to their process, and to the server's, what models should not do."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.faults.models import text
from tests.support.live import Live
from tests.support.server import Server, ended
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.untimed,
    pytest.mark.parametrize("sharing", ["auto", "off"]),
]

MEBIBYTE = 1024 * 1024

# At the top of a module: it runs when the model is loaded to serve, not when the test saves it.
SERVING = "import os\nif os.environ.get('_MLFLOW_IS_IN_SERVING_ENVIRONMENT'):\n"


@dataclass(frozen=True, slots=True)
class Hostile:
    """A model that serves: each of its answers is "done"."""

    predict: str = ""
    load: str = "pass"


SERVES = {
    "prints lines": Hostile("for _ in range(500_000): print('x' * 100)"),
    "prints without a line break": Hostile("import sys; sys.stdout.write('x' * 50_000_000)"),
    "writes to the descriptor": Hostile(
        r"import os; [os.write(2, b'\xff\n\x1e{}\n' * 10_000) for _ in range(1000)]"
    ),
    "starts threads": Hostile(
        load="""
        import threading, time
        for _ in range(50):
            threading.Thread(target=time.sleep, args=(1000,)).start()
        """
    ),
    "ignores signals": Hostile(
        load="""
        import signal
        for number in {*signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        """
    ),
    "changes the directory": Hostile("import os; os.chdir('/')", "import os; os.chdir('/proc')"),
    "closes standard output": Hostile(
        "import os; [os.close(n) for n in (1, 2) if os.path.exists(f'/proc/self/fd/{n}')]"
    ),
    "replaces standard output": Hostile("import sys; sys.stdout = sys.stderr = None"),
    "changes logging": Hostile(
        load="""
        import logging
        logging.shutdown()
        logging.getLogger().handlers = []
        logging.disable(logging.CRITICAL)
        """
    ),
    "leaks memory": Hostile("self.leaks = getattr(self, 'leaks', []) + [bytearray(200_000_000)]"),
    "fills its directory": Hostile(
        "import tempfile; open(tempfile.mkstemp()[0], 'wb').write(bytes(50_000_000))"
    ),
}


def memory(server: Server) -> int:
    """Bytes that would be freed if the gateway ended."""
    memory = psutil.Process(server.pid).memory_info()
    return int(memory.rss - memory.shared)


@pytest.fixture
def cue() -> str:
    """The text on which a model misbehaves. Another one each time: a request that was answered well
    is what the next version is rehearsed with."""
    return uuid.uuid4().hex


@pytest.fixture
def nothing_is_left(patient: Live, sharing: str) -> Iterator[None]:
    """After the test, the next version serves, and nothing of the ones before is left."""
    server = patient.server
    before = memory(server)
    yield
    patient.serve("next")
    (worker,) = server.worker_pids()
    known = {server.pid, server.environment().pid, worker}

    def others() -> list[str]:
        found = [p for p in server.processes() if p.pid not in known and not ended([p])]
        return [str(process) for process in found]

    # The look-up process, the resource tracker, and the template.
    expected = 3 if sharing == "auto" else 2
    with contextlib.suppress(AssertionError):
        wait_until(lambda: len(others()) == expected, "no other process is left", 10)
    assert len(others()) == expected, others()
    wait_until(lambda: len(server.release_directories()) == 1, "no directory is left")
    assert server.predict(text("hello")).json == {"predictions": ["next"]}
    assert memory(server) - before < 30 * MEBIBYTE


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("hostile", SERVES.values(), ids=SERVES.keys())
def test_it_serves_all_the_same(patient: Live, cue: str, hostile: Hostile) -> None:
    server = patient.server
    predict = f"if model_input.text[0] == {cue!r}:\n    {hostile.predict or 'pass'}\n"
    predict += "return ['done'] * len(model_input)"
    mark = server.mark()
    version = patient.serve(patient.saved.save(predict, load=hostile.load))

    for request in (cue, cue, "then"):
        started = time.monotonic()
        answer = server.predict(text(request))
        assert (answer.json, answer.version) == ({"predictions": ["done"]}, version)
        assert time.monotonic() - started < 5
    assert server.find("worker_exited", mark) == []
    # A model that prints a gigabyte does not fill the log.
    assert sum(map(len, server.lines[mark:])) < 4 * MEBIBYTE


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("how", ["", "start_new_session=True"], ids=["plain", "in a session"])
def test_what_it_started_ends_with_it(patient: Live, how: str) -> None:
    server = patient.server
    start = f"""
        import subprocess
        shell = "trap '' TERM INT HUP; sleep 1000 & echo $!; wait"
        child = subprocess.Popen(["sh", "-c", shell], stdout=-1, text=True, {how})
        return [f"{{child.pid}} {{child.stdout.readline()}}"]
    """
    patient.serve(patient.saved.save(start, input_example=None))
    (pids,) = server.predict(text("start")).json["predictions"]
    family = [psutil.Process(int(pid)) for pid in pids.split()]
    assert len(family) == 2

    patient.serve("another")

    wait_until(lambda: ended(family), "they have ended", 10)


@dataclass(frozen=True, slots=True)
class Fails:
    """What a model does on cue, and the status that the request gets."""

    predict: str
    status: int
    dies: bool


FAILS = {
    "calls sys.exit": Fails("import sys; sys.exit(0)", 400, dies=False),
    # As Rust's panics come to Python (pyo3_runtime.PanicException).
    "panics": Fails("raise type('Panic', (BaseException,), {})('it is broken')", 400, dies=False),
    "recurses": Fails("f = lambda: f(); f()", 400, dies=False),
    "can't say what is wrong": Fails(
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})", 400, dies=False
    ),
    "closes every descriptor": Fails("import os; os.closerange(0, 65536)", 500, dies=True),
    "ends with exit code 0": Fails("import os; os._exit(0)", 500, dies=True),
}


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("fails", FAILS.values(), ids=FAILS.keys())
def test_only_the_request_at_fault_fails(patient: Live, cue: str, fails: Fails) -> None:
    server = patient.server
    predict = f"if {cue!r} in [*model_input.text]:\n    {fails.predict}\n"
    predict += "return ['done'] * len(model_input)"
    version = patient.serve(patient.saved.save(predict))
    mark = server.mark()

    answer = server.predict(text(cue))

    assert answer.status == fails.status
    assert set(answer.json) == {"error_code", "message"}
    # As often as a request is tried.
    server.wait_for("worker_exited", since=mark, count=2) if fails.dies else None
    assert len(server.find("worker_exited", mark)) == (2 if fails.dies else 0)
    answer = server.predict(text("then"))
    assert (answer.json, answer.version) == ({"predictions": ["done"]}, version)


@pytest.mark.usefixtures("nothing_is_left")
def test_an_error_of_any_length_is_logged_as_what_it_is(patient: Live, cue: str) -> None:
    server = patient.server
    predict = f"if {cue!r} in [*model_input.text]:\n    raise ValueError('x' * 200_000)\n"
    patient.serve(patient.saved.save(predict + "return ['done'] * len(model_input)"))
    mark = server.mark()

    answer = server.predict(text(cue))

    assert answer.status == 400
    failure = server.wait_for("prediction_failed", since=mark)
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert failure["exception"].endswith("xxx\n")


REFUSED = {
    "calls sys.exit on import": (SERVING + "    raise SystemExit('no licence')", "no licence"),
    "closes every descriptor": (SERVING + "    os.closerange(0, 65536)", "the worker process"),
    "aborts": (SERVING + "    os.abort()", "SIGABRT"),
    "panics": (
        SERVING + "    raise type('Panic', (BaseException,), {})('it is broken')",
        "it is broken",
    ),
}


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize(("preamble", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_version_that_fails_on_import_is_refused(patient: Live, preamble: str, says: str) -> None:
    server = patient.server
    good = patient.serve("good")
    bad = patient.add(patient.saved.save("return []", preamble=preamble))
    mark = server.mark()
    patient.promote(bad)

    failure = server.wait_for("reload_failed", since=mark, failed_version=f"v{bad}")

    assert failure["phase"] == "load"
    assert says in failure["error"]
    assert server.predict(text("hello")).version == good


# What a model that has found the socket to the gateway may write to it.
FRAMES = {
    "noise": "bytes(range(256)) * 100",
    "a pickle": "pickle.dumps(Evil())",
    "lengths that do not add up": """struct.pack("!BIQQ", 5, 1, 10, 99) + bytes(10)""",
    "an answer that is too short": "frame(5, FIRST, b'x', b'')",
    "an answer to nobody": "frame(5, FIRST, struct.pack('!IHB', 999, 200, 0), b'{}')",
    "an answer of a batch that is not": "frame(5, LATER, struct.pack('!IHB', 0, 200, 0), b'{}')",
    "ready once more": "frame(2, b'{}')",
    "done without parts": "frame(6)",
    "done before the answers": "frame(6, FIRST, b'alone')",
    "parts without end": """struct.pack("!BIQ", 5, 2**26, 0) + bytes(2**29)""",
    "a phase": "frame(1, b'load')",
    "what the gateway says": "frame(4, FIRST)",
    "credit": "frame(9, FIRST, FIRST)",
    "no answers": "frame(5, FIRST)",
    "a chunk of what is no stream": "frame(8, FIRST, b'{}')",
    "a chunk of a batch that is not": "frame(8, LATER, b'{}')",
    "a chunk of two parts": "frame(8, FIRST, b'{}', b'{}')",
}


@pytest.mark.usefixtures("nothing_is_left")
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_what_it_writes_to_the_gateway_runs_nothing_there(
    patient: Live, tmp_path: Path, cue: str, frame: str
) -> None:
    server = patient.server
    ran = tmp_path / "ran"
    preamble = f"""
        import os, pickle, stat, struct, time

        FIRST, LATER = (number.to_bytes(8, "big") for number in (1, 2**40))

        class Evil:
            def __reduce__(self):
                return os.system, ("touch {ran}",)

        def frame(kind, *parts):
            lengths = [*map(len, parts)]
            head = struct.pack(f"!BIQ{{len(parts)}}Q", kind, len(parts), sum(lengths), *lengths)
            return b"".join([head, *parts])

        def channel():
            for number in range(3, 100):
                try:
                    if stat.S_ISSOCK(os.fstat(number).st_mode):
                        return number
                except OSError:
                    pass
    """
    predict = f"""
        if {cue!r} in [*model_input.text]:
            data = memoryview({frame})
            try:
                while data:
                    data = data[os.write(channel(), data):]
            except OSError:
                pass
        return ["done"] * len(model_input)
    """
    version = patient.serve(patient.saved.save(predict, preamble=preamble))
    mark = server.mark()

    answer = server.predict(text(cue))

    assert answer.status in (200, 500)
    assert server.get("/health").status in (200, 503)
    wait_until(lambda: server.predict(text("then")).version == version, "it serves on")
    assert not ran.exists()
    assert not [e for e in server.events[mark:] if "Traceback" in str(e.fields)]


def test_an_answer_that_is_an_object_runs_nothing_in_the_gateway(
    patient: Live, tmp_path: Path
) -> None:
    server = patient.server
    ran = tmp_path / "ran"
    preamble = f"""
        import os

        def run(*_):
            with open({str(ran)!r}, "a") as file:
                file.write(f"{{os.getpid()}}\\n")

        class Evil(str):
            __class__ = property(lambda self: run() or str)
            def __reduce__(self):
                return run, ()
            def __str__(self):
                run()
                return "evil"
            __repr__ = __format__ = __getattr__ = __str__

        class Strange:
            __class__ = property(lambda self: run() or dict)
            def __reduce__(self):
                return run, ()
            def __iter__(self):
                run()
                return iter(())
            keys = items = __getattr__ = __iter__
    """
    predict = """
        kind = model_input.text[0]
        if kind not in ("str", "object"):
            return ["done"] * len(model_input)
        return [Evil("evil") if kind == "str" else Strange()]
    """
    patient.serve(patient.saved.save(predict, preamble=preamble))
    (worker,) = server.worker_pids()

    for kind in ("str", "object"):
        answer = server.predict(text(kind))
        assert answer.status in (200, 400, 500)
        json.loads(answer.body)
    ran_in = set(ran.read_text().split()) if ran.exists() else set()
    assert ran_in <= {str(worker)}
    assert server.predict(text("hello")).json == {"predictions": ["done"]}
