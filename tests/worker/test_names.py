"""A model's own modules are its own, whatever they are called."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.own_modules import loader, save
from tests.worker.conftest import StartWorker
from tests.worker.protocol.workers import Worker

# Modules of models that are called like ours.
LIKE_OURS = (
    *("alias.py", "entry.py", "frames.py", "logs.py", "main.py", "preload.py", "spec.py"),
    *("redaction.py", "settings.py", "errors.py", "service.py", "protocol/__init__.py"),
    *("worker/__init__.py", "processes/__init__.py", "serving/__init__.py"),
    *("tests/__init__.py", "demo/__init__.py"),
)

# Each model's files, and how it comes to answer "fine".
MODELS: dict[str, tuple[dict[str, str], str]] = {
    "server and watcher as packages": (
        {
            "server/__init__.py": "",
            "server/worker/__init__.py": "",
            "server/worker/main.py": "WORD = 'fi'",
            "watcher/__init__.py": "from server.worker.main import WORD",
            "watcher/versions.py": "from . import WORD\nEND = 'ne'",
        },
        """
        from watcher.versions import WORD, END
        return WORD + END
        """,
    ),
    "server and watcher as folders without a first module": (
        {"server/words.py": "WORD = 'fi'", "watcher/deep/words.py": "END = 'ne'"},
        """
        import server.words
        from watcher.deep import words
        return server.words.WORD + words.END
        """,
    ),
    "server and watcher as modules": (
        {"server.py": "WORD = 'fi'", "watcher.py": "END = 'ne'"},
        """
        import server, watcher
        return server.WORD + watcher.END
        """,
    ),
    "modules named like ours": (
        dict.fromkeys(LIKE_OURS, "WORD = 'fine'"),
        """
        import alias, demo, entry, errors, frames, logs, main, preload, processes, protocol
        import redaction, service, serving, settings, spec, tests, worker
        modules = [
            alias, demo, entry, errors, frames, logs, main, preload, processes, protocol,
            redaction, service, serving, settings, spec, tests, worker,
        ]
        return "fine" if {module.WORD for module in modules} == {"fine"} else "wrong"
        """,
    ),
    "processes that import server": (
        {"server.py": "def say(word):\n    return word"},
        """
        import multiprocessing, server
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(server.say, ("fine",))
        """,
    ),
    "pickles of server": (
        {"server/__init__.py": "", "server/models.py": "class Word:\n    text = 'fine'"},
        """
        import pickle, server.models
        return pickle.loads(pickle.dumps(server.models.Word())).text
        """,
    ),
    "nothing of ours": (
        {},
        """
        import sys
        ours = [m for m in sys.modules if m.partition(".")[0] in ("server", "watcher")]
        return "fine" if not ours else str(ours)
        """,
    ),
}


def answer(worker: Worker) -> str:
    """What a model answers."""
    answered = json.loads(worker.ask(b'{"inputs": ["text"]}').body)
    assert answered.keys() == {"predictions"}, worker.log
    (word,) = answered["predictions"]
    return str(word)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_gets_its_own_modules(
    tmp_path: Path, start_worker: StartWorker, model: str
) -> None:
    files, word = MODELS[model]
    path = save(tmp_path, {**files, "its_loader.py": loader(word)}, loader_module="its_loader")
    assert answer(start_worker(path)) == "fine"


@pytest.mark.parametrize("word", ["first", "second"])
def test_each_version_gets_its_own_server(
    tmp_path: Path, start_worker: StartWorker, word: str
) -> None:
    files = {"server/__init__.py": "", "server/loading.py": loader(f"return {word!r}")}
    assert answer(start_worker(save(tmp_path, files, loader_module="server.loading"))) == word


PICKLED = """
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input: list[str], params=None):
        return ["fine"]
"""


def test_a_model_whose_class_is_in_a_module_called_server_is_unpickled(
    tmp_path: Path, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("server.models")
    monkeypatch.setitem(sys.modules, "server.models", module)
    exec(PICKLED, module.__dict__)  # noqa: S102  # as if it had been imported
    files = {"server/__init__.py": "", "server/models.py": PICKLED}
    path = save(tmp_path, files, python_model=module.Model())
    assert b"server.models" in (path / "python_model.pkl").read_bytes()
    assert answer(start_worker(path)) == "fine"


SILENCED = """
import logging
for name in ("server", "server.worker"):
    logging.getLogger(name).disabled = True
"""


def test_a_model_that_silences_its_logger_called_server_silences_none_of_ours(
    tmp_path: Path, start_worker: StartWorker
) -> None:
    code = SILENCED + loader("raise ValueError('its own')")
    worker = start_worker(save(tmp_path, {"its_loader.py": code}, loader_module="its_loader"))
    worker.ask(b'{"inputs": ["text"]}')
    assert '"event": "prediction_failed"' in worker.log
