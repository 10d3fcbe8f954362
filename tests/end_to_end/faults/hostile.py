"""A model that does what `attacks` can, when it is asked to."""

import json
from pathlib import Path
from typing import Any

from tests.end_to_end.faults import attacks
from tests.end_to_end.faults.models import text
from tests.support.models import SavedModels
from tests.support.server import Server

_PREAMBLE = """
import json, multiprocessing, os, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

CODE = SOURCE

def run(code):
    known = {}
    exec(code, known)
    return known["outcome"]

def in_a_thread(code):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, code).result()

def in_a_program(code):
    code += "\\nimport json; print(json.dumps(outcome))"
    program = [sys.executable, "-c", code]
    return json.loads(subprocess.run(program, stdout=-1, text=True, check=True).stdout)

def in_a_fork_servers_process(code):
    expression = f"(lambda known: (exec({code!r}, known), known['outcome'])[1])({{}})"
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        return pool.apply(eval, (expression,))

WAYS = {
    "predict": run,
    "thread": in_a_thread,
    "program": in_a_program,
    "fork server": in_a_fork_servers_process,
}
"""
WAYS = ("load", "predict", "thread", "program", "fork server")


def hostile(saved: SavedModels) -> Path:
    """A model that calls what it is asked to of `attacks`; and when it is loaded, what `ATTACK` in
    the environment says. It answers "one" to a plain text."""
    return saved.save(
        """
        if not model_input.text[0].startswith("{"):
            return ["one"] * len(model_input)
        told = json.loads(model_input.text[0])
        if told["way"] == "load":
            return [json.dumps(self.at_load)]
        return [json.dumps(WAYS[told["way"]](f"{CODE}\\noutcome = {told['call']}"))]
        """,
        load="""self.at_load = run(f"{CODE}\\noutcome = {os.environ.get('ATTACK')}")""",
        preamble=_PREAMBLE.replace("SOURCE", repr(Path(attacks.__file__).read_text())),
        input_example=None,
    )


def call(server: Server, way: str, what: str) -> Any:
    """Have the model call something in one of its ways, and return what came of it."""
    answer = server.predict(text(json.dumps({"way": way, "call": what})))
    assert answer.status == 200, answer.body
    return json.loads(answer.json["predictions"][0])
