"""How many threads the libraries of a model have: in the process that loads it, in those forked
from that, and in threads of these."""

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from server.worker.threads import CORE_VARIABLES, POOL_VARIABLES, THREAD_VARIABLES

ALL = THREAD_VARIABLES + POOL_VARIABLES + CORE_VARIABLES

# Loads as a template does, and says what there is then and in a worker, in two of its threads.
PROCESS = """
import json, os, sys, threading
from server.worker.threads.limits import Threads

def tasks():
    return len(os.listdir("/proc/self/task"))

told = json.load(sys.stdin)
exec(told["before"], names := {"tasks": tasks})
threads = Threads(told["variables"])
threads.prepare()
exec(told["load"], names)
loaded = eval(told["look"], names)
threads.find()
reading, writing = os.pipe()
if (pid := os.fork()) == 0:
    def serve():
        threads.limit()
        found.append(eval(told["look"], names))
    found = []
    serve()
    other = threading.Thread(target=serve)
    other.start()
    other.join()
    os.write(writing, json.dumps(found).encode())
    os._exit(0)
os.close(writing)
with open(reading) as pipe:
    first, second = json.load(pipe)
os.waitpid(pid, 0)
print(json.dumps([loaded, first, second]))
"""


def looked(
    load: str, look: str, *, before: str = "", share: str = "2", **variables: str
) -> list[Any]:
    """What is seen once it has been loaded, in a worker, and in another thread of that."""
    told = {
        "before": before,
        "load": textwrap.dedent(load),
        "look": look,
        "variables": {**dict.fromkeys(ALL, share), **variables},
    }
    environment = {name: said for name, said in os.environ.items() if name not in ALL}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROCESS],
        input=json.dumps(told),
        env={
            **environment,
            **dict.fromkeys(THREAD_VARIABLES, "1"),
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            "ORT_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "can't limit" not in process.stderr
    found: list[Any] = json.loads(process.stdout.splitlines()[-1])
    return found


def test_blas_has_one_thread_until_there_is_a_worker() -> None:
    load = "import numpy, threadpoolctl"
    look = "[each['num_threads'] for each in threadpoolctl.threadpool_info()], tasks() == 1"
    (loaded, alone), (first, _), (second, _) = looked(load, look)
    assert alone
    assert set(loaded) == {1}
    assert set(first) == set(second) == {2}


def test_what_is_loaded_later_finds_its_variables() -> None:
    names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "LOKY_MAX_CPU_COUNT")
    look = f"[os.environ.get(name) for name in {names}]"
    assert looked("import os", look) == [["1", "2", "1"], ["2", "2", "2"], ["2", "2", "2"]]


@pytest.mark.parametrize("before", ["", "import pyarrow"], ids=["loaded", "there before"])
def test_arrow_has_a_workers_share(before: str) -> None:
    assert looked("import pyarrow", "pyarrow.cpu_count()", before=before) == [1, 2, 2]


def test_a_number_that_the_model_has_set_stays() -> None:
    load = "import pyarrow; pyarrow.set_cpu_count(3)"
    assert looked(load, "pyarrow.cpu_count()") == [3, 3, 3]


def test_what_is_no_number_is_left_as_it_is() -> None:
    assert looked("import pyarrow", "pyarrow.cpu_count()", OMP_NUM_THREADS="") == [1, 1, 1]


def test_joblib_counts_a_workers_share_of_the_cores() -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    # It counts no more than there are.
    assert looked("import joblib", "joblib.cpu_count()", share="1") == [1, 1, 1]


def test_numexpr_has_a_workers_share() -> None:
    pytest.importorskip("numexpr", reason="NumExpr is not installed")
    assert looked("import numexpr", "numexpr.get_num_threads()") == [1, 2, 2]


@pytest.mark.parametrize("before", ["", "import torch"], ids=["loaded", "there before"])
def test_torch_has_a_workers_share(before: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    load = """
        import re, torch
        torch.rand(64, 20) @ torch.rand(20, 256)
        def mkl():
            said = torch.__config__.parallel_info()
            found = re.search(r"mkl_get_max_threads\\(\\) : (\\d+)", said)
            return int(found[1]) if found else torch.get_num_threads()
    """
    look = "torch.get_num_threads(), mkl(), torch.get_num_interop_threads()"
    assert looked(load, look, before=before) == [[1, 1, 2], [2, 2, 2], [2, 2, 2]]


def test_torch_keeps_the_number_that_the_model_has_set() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    load = "import torch; torch.set_num_threads(1)"
    assert looked(load, "torch.get_num_threads()") == [1, 1, 1]


# Its graph is y = Relu(x), of float32 tensors [n, 2]; opset 17.
RELU = (
    "CAkSADo9CgwKAXgSAXkiBFJlbHUSAWdaFAoBeBIPCg0IARIJCgMSAW4KAggCYhQKAXkSDwoNCAESCQoDEgFu"
    "CgIIAkIECgAQEQ=="
)
SESSION = f"""
    import base64, numpy, onnxruntime
    model = base64.b64decode({RELU!r})
    def asked(session):
        return session.run(None, {{"x": numpy.float32([[-1, 1]])}})[0].tolist()
"""


@pytest.mark.parametrize("before", ["", "import onnxruntime"], ids=["loaded", "there before"])
@pytest.mark.parametrize("options", ["", ", None", ", sess_options=onnxruntime.SessionOptions()"])
def test_a_session_of_one_thread_is_shared_with_those_forked(before: str, options: str) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    load = f"{SESSION}\n    session = onnxruntime.InferenceSession(model{options})"
    seen = looked(load, "asked(session), tasks()", before=before, share="1")
    assert seen[0] == [[[0.0, 1.0]], 1]
    assert [answer for answer, _ in seen] == [[[0.0, 1.0]]] * 3


def test_a_session_has_a_workers_share_unless_its_options_say_how_many() -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    load = f"""{SESSION}
    def told(**options):
        given = onnxruntime.SessionOptions()
        given.add_session_config_entry("session.inter_op.allow_spinning", "1")
        for name, value in options.items():
            setattr(given, name, value)
        found = onnxruntime.InferenceSession(path_or_bytes=model, sess_options=given)
        found = found.get_session_options()
        spins = (f"session.{{pool}}_op.allow_spinning" for pool in ("intra", "inter"))
        spins = [found.get_session_config_entry(each) for each in spins]
        return [found.intra_op_num_threads, found.inter_op_num_threads, spins]
    """
    look = "[told(), told(intra_op_num_threads=3, inter_op_num_threads=1)]"
    assert looked(load, look)[0] == [[2, 2, ["0", "1"]], [3, 1, ["0", "1"]]]


def test_catboost_has_a_workers_share_unless_the_caller_says_how_many() -> None:
    pytest.importorskip("catboost", reason="CatBoost is not installed")
    load = """
        import catboost, inspect, numpy
        rows = numpy.arange(400.0).reshape(100, 4)
        model = catboost.CatBoostClassifier(
            iterations=3, verbose=0, allow_writing_files=False, thread_count=1
        ).fit(rows, rows[:, 0] > 200)
        answers = [model.predict(rows[:1]), model.predict_proba(rows[:1])]
        def told(method):
            return inspect.signature(method).parameters["thread_count"].default
    """
    look = "told(model.predict), told(model.predict_proba), told(catboost.Pool.__init__)"
    assert looked(load, look) == [[1, 1, 1], [2, 2, 2], [2, 2, 2]]


def test_a_module_of_the_models_own_with_such_a_name_is_left_alone(tmp_path: Any) -> None:
    (tmp_path / "torch.py").write_text("number = 5")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
from server.worker.threads.limits import Threads
threads = Threads({dict.fromkeys(ALL, "2")!r})
threads.prepare()
import torch
threads.limit()
print(torch.number)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "5"
    assert "can't limit the threads of torch" in done.stderr
