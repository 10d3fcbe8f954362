"""Random numbers of processes that are forked from one that has loaded a model."""

import json
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from typing import Any

import pytest

# For each model it is given: what is drawn in three processes forked from one that has loaded it,
# and in one that has loaded it itself. Each is forked from this one.
PROCESS = """
import gc, json, os, sys, traceback
for module in sys.argv[1:]:
    __import__(module + ".random")
gc.freeze()
from server.worker.randomness import watching_seeds

def in_child(run):
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            answer = run()
        except Exception:
            answer = traceback.format_exc()
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer)

def drawn(model):
    names = {}
    def alone():
        exec(model["load"], names)
        return eval(model["draw"], names)
    def template():
        with watching_seeds() as seeds:
            exec(model["load"], names)
        seeds.settle()
        def worker():
            seeds.renew()
            return eval(model["draw"], names)
        return [in_child(worker) for _ in range(3)]
    return {"alone": in_child(alone), "forked": in_child(template)}

print(json.dumps({name: drawn(model) for name, model in json.load(sys.stdin).items()}))
"""

Model = tuple[str, str]  # what it runs to load, and the expression that draws

PYTHON = "[random.random(), random.getrandbits(64), random.gauss(0, 1)]"
NUMPY = "[np.random.random(), int(np.random.randint(2**31)), np.random.normal(), np.random.rand()]"
OWN = "rng.random(4).tolist()"
LEGACY = "[*rng.random_sample(4), rng.standard_normal()]"

SYSTEM_SEEDED: dict[str, Model] = {
    # Python's
    "random": ("import random", PYTHON),
    "random, drawn": ("import random; [random.random() for _ in range(5_000)]", PYTHON),
    "random, half of two normals": ("import random; random.gauss(0, 1)", "random.gauss(0, 1)"),
    "random, name imported": ("from random import random", "random()"),
    "random, seeded by the system again": (
        "import random; random.seed(42); random.seed()",
        PYTHON,
    ),
    "random, seeded for a while": (
        """
        import random
        random.random()
        state = random.getstate()
        random.seed(42)
        random.shuffle(list(range(1000)))
        random.setstate(state)
        """,
        PYTHON,
    ),
    "Random": ("import random; rng = random.Random()", "rng.random()"),
    "Random, drawn": (
        "import random; rng = random.Random(); [rng.random() for _ in range(5_000)]",
        "rng.random()",
    ),
    "Random, half of two normals": (
        "import random; rng = random.Random(); rng.gauss(0, 1)",
        "rng.gauss(0, 1)",
    ),
    "Random, copied": (
        "import copy, random; first = random.Random(); rng = copy.deepcopy(first)",
        "rng.random()",
    ),
    "a subclass of Random": (
        "import random; rng = type('Mine', (random.Random,), {})()",
        "rng.random()",
    ),
    "SystemRandom": ("import random; rng = random.SystemRandom()", "rng.random()"),
    # NumPy's global one
    "np.random": ("import numpy as np", NUMPY),
    "np.random, drawn": ("import numpy as np; np.random.rand(100_000)", NUMPY),
    "np.random, much drawn": ("import numpy as np; np.random.rand(1_000_000)", NUMPY),
    "np.random, much drawn beside others": (
        """
        import numpy as np
        others = [np.random.default_rng() for _ in range(10)]
        np.random.rand(1_000_000)
        """,
        NUMPY,
    ),
    "np.random, half of two normals": (
        "import numpy as np; np.random.standard_normal()",
        "np.random.standard_normal()",
    ),
    "np.random, seeded by the system again": (
        "import numpy as np; np.random.seed(42); np.random.seed(); np.random.rand(1000)",
        NUMPY,
    ),
    "np.random, seeded for a while": (
        """
        import numpy as np
        np.random.rand(1000)
        state = np.random.get_state()
        np.random.seed(42)
        np.random.rand(1000)
        np.random.set_state(state)
        """,
        NUMPY,
    ),
    "np.random, of another kind": (
        "import numpy as np; np.random.set_bit_generator(np.random.PCG64())",
        NUMPY,
    ),
    # NumPy's others
    "default_rng": ("import numpy as np; rng = np.random.default_rng()", OWN),
    "default_rng of the system's bits, as NumPy's documentation has it": (
        "import numpy as np, secrets; rng = np.random.default_rng(secrets.randbits(128))",
        OWN,
    ),
    "default_rng, drawn": (
        "import numpy as np; rng = np.random.default_rng(); rng.random(100_000)",
        OWN,
    ),
    "default_rng, half of a word": (
        "import numpy as np; rng = np.random.default_rng(); rng.integers(9, dtype=np.int32)",
        "int(rng.integers(2**31, dtype=np.int32))",
    ),
    "default_rng, what it spawns": (
        "import numpy as np; seeds = np.random.SeedSequence(); seeds.spawn(2)",
        "np.random.default_rng(seeds.spawn(1)[0]).random()",
    ),
    "default_rng of a spawned sequence": (
        "import numpy as np; rng = np.random.default_rng(np.random.SeedSequence().spawn(3)[2])",
        OWN,
    ),
    "what a generator's sequence spawns": (
        "import numpy as np; rng = np.random.default_rng()",
        "np.random.default_rng(rng.bit_generator._seed_seq.spawn(1)[0]).random()",
    ),
    "default_rng, copied": (
        "import copy, numpy as np; rng = copy.deepcopy(np.random.default_rng())",
        OWN,
    ),
    "jumped": (
        "import numpy as np; rng = np.random.Generator(np.random.PCG64().jumped())",
        OWN,
    ),
    "RandomState": ("import numpy as np; rng = np.random.RandomState()", LEGACY),
    "RandomState, drawn": (
        "import numpy as np; rng = np.random.RandomState(); rng.standard_normal(100_001)",
        "rng.standard_normal()",
    ),
    "RandomState, much drawn": (
        "import numpy as np; rng = np.random.RandomState(); rng.rand(1_000_000)",
        LEGACY,
    ),
    "RandomState, seeded by the system again": (
        "import numpy as np; rng = np.random.RandomState(7); rng.seed(None)",
        LEGACY,
    ),
    "RandomState, of many": (
        "import numpy as np; rngs = [np.random.RandomState() for _ in range(100)]",
        "[rng.rand() for rng in rngs]",
    ),
    "RandomState of another kind": (
        "import numpy as np; rng = np.random.RandomState(np.random.SFC64()); rng.normal()",
        "rng.normal()",
    ),
    "a bit generator": (
        "import numpy as np; rng = np.random.PCG64()",
        "int(rng.random_raw())",
    ),
    "a subclass": (
        """
        import numpy as np
        class Mine(np.random.PCG64):
            pass
        rng = np.random.Generator(Mine())
        """,
        OWN,
    ),
}

USER_SEEDED: dict[str, Model] = {
    "random": ("import random; random.seed(42)", PYTHON),
    "random, with text": ("import random; random.seed('forty-two')", PYTHON),
    "random, drawn": (
        "import random; random.seed(42); [random.random() for _ in range(5_000)]",
        PYTHON,
    ),
    "random, half of two normals": (
        "import random; random.seed(42); random.gauss(0, 1)",
        PYTHON,
    ),
    "random, names imported": ("from random import seed, random; seed(42)", "random()"),
    "random, state": (
        "import random; random.setstate(random.Random(42).getstate())",
        PYTHON,
    ),
    "Random": ("import random; rng = random.Random(42)", "rng.random()"),
    "Random, seeded later": (
        "import random; rng = random.Random(); rng.random(); rng.seed(42)",
        "rng.random()",
    ),
    "Random, unpickled": (
        "import pickle, random; rng = pickle.loads(pickle.dumps(random.Random(42)))",
        "rng.random()",
    ),
    "a subclass of Random": (
        """
        import random
        class Mine(random.Random):
            def seed(self, a=None, version=2):
                super().seed(42)
        rng = Mine()
        """,
        "rng.random()",
    ),
    "np.random": ("import numpy as np; np.random.seed(42)", NUMPY),
    "np.random, drawn": ("import numpy as np; np.random.seed(42); np.random.rand(5_000)", NUMPY),
    "np.random, half of two normals": (
        "import numpy as np; np.random.seed(42); np.random.standard_normal()",
        NUMPY,
    ),
    "np.random, state": (
        "import numpy as np; np.random.set_state(np.random.RandomState(42).get_state())",
        NUMPY,
    ),
    "np.random, of another kind": (
        "import numpy as np; np.random.set_bit_generator(np.random.PCG64(42))",
        NUMPY,
    ),
    "default_rng": ("import numpy as np; rng = np.random.default_rng(42)", OWN),
    "default_rng, 128 bits": (
        """
        import numpy as np
        rng = np.random.default_rng(0xf1e2d3c4b5a6978877665544332211ab)
        other = np.random.default_rng()
        """,
        OWN,
    ),
    "default_rng, a list": (
        "import numpy as np; rng = np.random.default_rng([1, 2, 3]); np.random.default_rng()",
        OWN,
    ),
    "default_rng, unpickled": (
        """
        import numpy as np, pickle
        rng = pickle.loads(pickle.dumps(np.random.default_rng(42)))
        """,
        OWN,
    ),
    "default_rng, drawn": (
        "import numpy as np; rng = np.random.default_rng(42); rng.random(5_000)",
        OWN,
    ),
    "default_rng, state": (
        """
        import numpy as np
        rng = np.random.default_rng()
        rng.bit_generator.state = np.random.PCG64(42).state
        """,
        OWN,
    ),
    "default_rng of a spawned sequence": (
        "import numpy as np; rng = np.random.default_rng(np.random.SeedSequence(42).spawn(3)[2])",
        OWN,
    ),
    "what a sequence spawns": (
        "import numpy as np; seeds = np.random.SeedSequence(42); seeds.spawn(2)",
        "np.random.default_rng(seeds.spawn(1)[0]).random()",
    ),
    "jumped": (
        "import numpy as np; rng = np.random.Generator(np.random.PCG64(42).jumped())",
        OWN,
    ),
    "Philox, of a key": (
        "import numpy as np; rng = np.random.Generator(np.random.Philox(key=42))",
        OWN,
    ),
    "np.random, seeded while much else is by the system": (
        """
        import numpy as np
        others = [np.random.RandomState() for _ in range(100)]
        np.random.seed(42)
        """,
        NUMPY,
    ),
    "RandomState": ("import numpy as np; rng = np.random.RandomState(7)", LEGACY),
    "RandomState, half of two normals": (
        "import numpy as np; rng = np.random.RandomState(7); rng.standard_normal(5_001)",
        "rng.standard_normal()",
    ),
    "RandomState, much drawn": (
        "import numpy as np; rng = np.random.RandomState(7); rng.rand(1_000_000)",
        LEGACY,
    ),
    "RandomState, unpickled": (
        "import numpy as np, pickle; rng = pickle.loads(pickle.dumps(np.random.RandomState(7)))",
        LEGACY,
    ),
    "RandomState, seeded later": (
        "import numpy as np; rng = np.random.RandomState(); rng.seed(7)",
        LEGACY,
    ),
}

for kind in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
    make = f"import numpy as np; rng = np.random.Generator(np.random.{kind}(%s)); rng.random(1_001)"
    SYSTEM_SEEDED[kind] = (make % "", OWN)
    USER_SEEDED[kind] = (make % "42", OWN)
    SYSTEM_SEEDED[f"{kind}, much drawn"] = (f"{make % ''}; rng.random(1_000_000)", OWN)
    USER_SEEDED[f"{kind}, unpickled"] = (
        f"""
        import numpy as np, pickle
        rng = pickle.loads(pickle.dumps(np.random.Generator(np.random.{kind}(42))))
        """,
        OWN,
    )
    if kind != "SFC64":  # there only the seed sequence tells
        USER_SEEDED[f"{kind}, state"] = (
            f"""
            import numpy as np
            rng = np.random.Generator(np.random.{kind}())
            rng.bit_generator.state = np.random.{kind}(42).state
            rng.random(1_001)
            """,
            OWN,
        )


def forked(models: dict[str, Model], *modules: str) -> dict[str, Any]:
    """What each model draws, alone and in workers, in processes that had these modules before."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, *modules],
        input=json.dumps(
            {
                name: {"load": textwrap.dedent(load), "draw": draw}
                for name, (load, draw) in models.items()
            }
        ),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def system_seeded() -> dict[str, Any]:
    return forked(SYSTEM_SEEDED, "numpy")


@pytest.fixture(scope="module")
def user_seeded() -> dict[str, Any]:
    return forked(USER_SEEDED, "numpy")


@pytest.mark.parametrize("name", SYSTEM_SEEDED)
def test_what_the_system_seeded_differs_in_each_worker(
    name: str, system_seeded: dict[str, Any]
) -> None:
    assert_differ(system_seeded[name]["forked"], name)


@pytest.mark.parametrize("name", USER_SEEDED)
def test_what_the_model_seeded_goes_on_as_in_a_process_that_loaded_it(
    name: str, user_seeded: dict[str, Any]
) -> None:
    alone, workers = user_seeded[name]["alone"], user_seeded[name]["forked"]
    assert workers == [alone] * 3


def test_numpy_may_be_imported_only_while_loading() -> None:
    names = ("np.random, drawn", "default_rng", "RandomState")
    for name, drawn in forked({name: SYSTEM_SEEDED[name] for name in names}).items():
        assert_differ(drawn["forked"], name)
    for name, drawn in forked({name: USER_SEEDED[name] for name in names}).items():
        assert drawn["forked"] == [drawn["alone"]] * 3, name


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("before", [["numpy", "torch"], []], ids=["imported before", "by loading"])
def test_torch_is_seeded_anew_unless_the_model_has_seeded_it(before: list[str]) -> None:
    draw = "[*torch.rand(4).tolist(), *torch.randn(3).tolist()]"
    by_system = {
        "untouched": ("import torch", draw),
        "drawn": ("import torch; torch.rand(5_000); torch.randn(1)", draw),
        "seeded by the system again": ("import torch; torch.manual_seed(42); torch.seed()", draw),
    }
    by_user = {
        "seeded": ("import torch; torch.manual_seed(42); torch.randn(5_001)", draw),
        "seeded below zero": ("import torch; torch.manual_seed(-42)", draw),
        "state": (
            "import torch; torch.set_rng_state(torch.Generator().manual_seed(42).get_state())",
            draw,
        ),
        "its own": (
            "import torch; rng = torch.Generator().manual_seed(42)",
            "torch.rand(4, generator=rng).tolist()",
        ),
    }
    for name, drawn in forked(by_system, *before).items():
        assert_differ(drawn["forked"], name)
    for name, drawn in forked(by_user, *before).items():
        assert drawn["forked"] == [drawn["alone"]] * 3, name


@pytest.mark.parametrize("modules", [["numpy"], []], ids=["imported before", "by loading"])
def test_templates_of_one_environment_do_not_draw_the_same_while_loading(
    modules: list[str],
) -> None:
    load = "import random, numpy as np; drawn = [random.random(), np.random.rand()]"
    models = {str(number): (load, "drawn") for number in range(3)}
    answers = forked(models, *modules)
    assert_differ([answer["forked"][0] for answer in answers.values()], "while loading")


@pytest.mark.parametrize("modules", [["numpy"], []], ids=["imported before", "by loading"])
@pytest.mark.parametrize("end", ["", "raise RuntimeError"], ids=["loads", "fails"])
def test_nothing_stays_patched(end: str, modules: list[str]) -> None:
    code = f"""
        import random, secrets, sys
        if {modules}:
            import numpy.random
        from server.worker.randomness import watching_seeds
        original = secrets.randbits
        try:
            with watching_seeds():
                import numpy.random
                from secrets import randbits as taken_meanwhile
                random.seed(42)
                numpy.random.default_rng()
                {end}
        except RuntimeError:
            pass
        assert secrets.randbits == original
        assert sys.modules["numpy.random.bit_generator"].randbits == original
        assert taken_meanwhile(64).bit_length() <= 64
        assert not hasattr(random.Random, "gauss_next")
        assert random.gauss(0, 1) == random.Random(42).gauss(0, 1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=30)


def assert_differ(answers: list[Any], name: str) -> None:
    """No two workers have drawn any same number."""
    assert "Traceback" not in str(answers), answers
    lists = [answer if isinstance(answer, list) else [answer] for answer in answers]
    for numbers in zip(*lists, strict=True):
        assert len(set(numbers)) == len(answers), name
