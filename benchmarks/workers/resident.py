"""Memory of all processes by the number of workers, before and after predictions."""

from collections.abc import Sequence
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.ground import Checkout, Ground, Server, good_texts, say
from benchmarks.memory import anonymous_bytes, pss_bytes
from benchmarks.models import Traits
from benchmarks.processor import wait_until_quiet

WORKERS = (1, 4)

_RATE = 1000.0
_TEXTS = 10_000


def measure(
    ground: Ground, checkouts: Sequence[Checkout], mebibytes: float, predictions: int
) -> list[dict[str, Any]]:
    """Measure each model, number of workers and checkout, one server at a time: what servers
    share with one another would be halved."""
    models = {
        "array": Traits(array_mib=mebibytes),
        "objects": Traits(objects_mib=mebibytes),
    }
    cells = []
    for model, traits in models.items():
        ground.add(model, traits)
        for workers in WORKERS:
            for checkout in checkouts:
                with ground.serving(checkout, model, workers) as server:
                    cell = _measure(ground, server, predictions)
                cells.append({"model": model, "workers": workers, "server": checkout.title, **cell})
                said = f"{cell['at_rest_bytes'] / 2**20:.0f} MiB, {cell['after_bytes'] / 2**20:.0f}"
                say(f"Memory, {model}, {workers} workers, {checkout.title}: {said} MiB after")
    return cells


def _measure(ground: Ground, server: Server, predictions: int) -> dict[str, Any]:
    process = server.running.process
    wait_until_quiet(process)
    at_rest = process.pids()
    result: dict[str, Any] = {
        "shared": server.info().get("workers_share"),
        "processes": len(at_rest),
        "at_rest_bytes": pss_bytes(at_rest),
        "at_rest_anonymous_bytes": anonymous_bytes(at_rest),
    }
    texts = good_texts(_TEXTS)
    with ground.load(server, texts, rate=_RATE, seconds=predictions / _RATE) as load:
        status = load.samples().status
    if set(status) != {200}:
        raise BenchmarkError(f"a prediction was answered with {max(status)}")
    wait_until_quiet(process)
    after = process.pids()
    return {
        **result,
        "predictions": len(status),
        "after_bytes": pss_bytes(after),
        "after_anonymous_bytes": anonymous_bytes(after),
    }
