"""A model uses processes of its own as it may under `mlflow models serve`."""

import json
import textwrap
from pathlib import Path

import pytest

from tests.support.models import save_model
from tests.worker.conftest import StartWorker
from tests.worker.protocol.workers import Worker

# What a model may do in `predict`: it sets `result` to "fine".
USES = {
    "Pool": """
        with multiprocessing.Pool(2) as pool:
            result = "fine" if pool.map(half, [2, 4]) == [1, 2] else "wrong"
    """,
    "Pool of one's own methods": """
        with multiprocessing.Pool(2, initializer=lambda: None) as pool:
            result = "fine" if pool.map(self.half, [2, 4]) == [1, 2] else "wrong"
    """,
    "Pool in a thread": """
        with ThreadPoolExecutor(2) as threads:
            def halves(numbers):
                with multiprocessing.Pool(1) as pool:
                    return pool.map(half, numbers)
            result = "fine" if list(threads.map(halves, [[2], [4]])) == [[1], [2]] else "wrong"
    """,
    "ProcessPoolExecutor": """
        with ProcessPoolExecutor(2) as pool:
            result = "fine" if list(pool.map(half, [2, 4])) == [1, 2] else "wrong"
    """,
    "Process of a lambda": """
        queue = multiprocessing.Queue()
        process = multiprocessing.Process(target=lambda: queue.put("fine"))
        process.start()
        result = queue.get()
        process.join()
    """,
    "daemons, as data loaders have them": """
        tasks, done = multiprocessing.Queue(), multiprocessing.SimpleQueue()
        stop = multiprocessing.Event()
        def load():
            while not stop.is_set():
                done.put(half(tasks.get()))
        loaders = [multiprocessing.Process(target=load, daemon=True) for _ in range(2)]
        for loader in loaders:
            loader.start()
        for number in (2, 4):
            tasks.put(number)
        result = "fine" if sorted(done.get() for _ in range(2)) == [1, 2] else "wrong"
        for loader in loaders:
            loader.terminate()
            loader.join()
    """,
    "Manager": """
        with multiprocessing.Manager() as manager:
            shared = manager.dict()
            process = multiprocessing.Process(target=lambda: shared.update(result="fine"))
            process.start()
            process.join()
            result = shared["result"]
    """,
    "Lock, Value and Array": """
        lock, total = multiprocessing.Lock(), multiprocessing.Value("i", 0)
        cells = multiprocessing.Array("d", 2)
        def add(place):
            with lock:
                total.value += 1
            cells[place] = 0.5
        processes = [multiprocessing.Process(target=add, args=(n,)) for n in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        result = "fine" if (total.value, list(cells)) == (2, [0.5, 0.5]) else "wrong"
    """,
    "shared memory": """
        block = shared_memory.SharedMemory(create=True, size=4)
        def write():
            theirs = shared_memory.SharedMemory(block.name)
            theirs.buf[:4] = b"fine"
            theirs.close()
        process = multiprocessing.Process(target=write)
        process.start()
        process.join()
        result = bytes(block.buf[:4]).decode()
        block.close()
        block.unlink()
    """,
    "spawn": """
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = "fine" if pool.map(math.sqrt, [4.0]) == [2.0] else "wrong"
    """,
    "forkserver": """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["statistics"])
        with context.Pool(1) as pool:
            result = "fine" if pool.map(math.sqrt, [4.0]) == [2.0] else "wrong"
    """,
    "the main process": """
        is_main = multiprocessing.current_process().name == "MainProcess"
        is_child = multiprocessing.parent_process() is not None
        result = "fine" if is_main and not is_child else "wrong"
    """,
    "numbers of a pool's processes": """
        with multiprocessing.Pool(2) as pool:
            pool.map(half, range(8), chunksize=1)
            numbers = {process._identity[0] for process in pool._pool}
        result = "fine" if len(numbers) == 2 else "wrong"
    """,
    "a child that is no daemon has children": """
        queue = multiprocessing.Queue()
        def outer():
            inner = multiprocessing.Process(target=queue.put, args=("fine",))
            inner.start()
            inner.join()
        process = multiprocessing.Process(target=outer)
        process.start()
        result = queue.get()
        process.join()
    """,
    "joblib by loky": """
        # In a process that does not know the model's module: by value, as a lambda is.
        parallel = joblib.Parallel(2, backend="loky")
        halves = parallel(joblib.delayed(lambda number: number // 2)(n) for n in (2, 4))
        result = "fine" if halves == [1, 2] else "wrong"
        joblib.externals.loky.get_reusable_executor().shutdown()
    """,
    "joblib by multiprocessing": """
        parallel = joblib.Parallel(2, backend="multiprocessing")
        halves = parallel(joblib.delayed(half)(n) for n in (2, 4))
        result = "fine" if halves == [1, 2] else "wrong"
    """,
    "subprocess": """
        code = "import multiprocessing; print('fine')"
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    """,
    "os.fork": """
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        result = "fine" if code == 7 else "wrong"
    """,
}

_PREAMBLE = """
import math, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import shared_memory
import joblib

def half(number):
    return number // 2
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that does what it is asked for, and one of it while it is loaded: several pools at
    once, one of which stays."""
    predict = "".join(
        f"if model_input['text'][0] == {name!r}:\n{textwrap.indent(textwrap.dedent(code), '    ')}"
        for name, code in USES.items()
    )
    return save_model(
        tmp_path_factory.mktemp("model"),
        f"result = 'unknown'\n{predict}\n"
        "if model_input['text'][0] == 'pool from before':\n"
        "    result = self.pool.apply(str, ('fine',))\n"
        "return [result.strip()]",
        load="""
            # So that it may choose one.
            assert multiprocessing.get_start_method(allow_none=True) is None
            pools = [multiprocessing.Pool(2) for _ in range(3)]
            assert [pool.map(half, [2, 4]) for pool in pools] == [[1, 2]] * 3
            self.pool = pools.pop()
            for pool in pools:
                pool.terminate()
            self.half = half
        """,
        preamble=_PREAMBLE,
    )


@pytest.fixture(scope="module")
def worker(model: Path, start_worker: StartWorker) -> Worker:
    """A worker process that serves it."""
    return start_worker(model)


@pytest.mark.parametrize("use", [*USES, "pool from before"])
def test_a_model_may_use_processes(worker: Worker, use: str) -> None:
    answer = worker.ask(json.dumps({"instances": [use]}).encode())
    assert json.loads(answer.body) == {"predictions": ["fine"]}, worker.log
