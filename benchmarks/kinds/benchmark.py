"""Types of models, each in an environment with its library, of this server and of `mlflow models
serve`."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.comparison import NOW, Compared, measure_parts
from benchmarks.errors import BenchmarkError
from benchmarks.ground import Checkout, Ground, say
from benchmarks.kinds.catalogue import ENVIRONMENTS, KINDS, Kind
from benchmarks.kinds.contest import MLFLOW, Contest, measure_loads, measure_starts
from benchmarks.kinds.promotion import measure_promotion
from benchmarks.kinds.requests import Requests
from benchmarks.paths import BENCH, REPOSITORY
from benchmarks.summaries import Spread
from benchmarks.targets import Target
from benchmarks.wrk import require_wrk

Part = Literal["starts", "loads", "alone", "promotion"]
PARTS: tuple[Part, ...] = ("starts", "loads", "alone", "promotion")

_MERGED_CLIENTS = 16
_TIMES = 4.0
_TIMES_IF_IT_PAYS = 8.0
"""Where the model alone is as many times as fast per row, given as many rows as there are
clients."""

_MEMORY_TIMES = 1.1
_BACK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Compared):
    """How much is measured.

    Attributes:
        models: Keys of KINDS.
        parts: Of PARTS: what is measured of each.
        clients: Of wrk, ascending.
        rounds: How often the servers are started for their memory, and once more to be loaded.
        seconds: Length of each measurement.
        before_seconds: Of load that counts before a promotion, and as long before that.
        after_seconds: Of load after it.
    """

    models: Sequence[str] = tuple(KINDS)
    parts: Sequence[Part] = PARTS
    clients: Sequence[int] = (1, _MERGED_CLIENTS, 64)
    rounds: int = 3
    seconds: int = 3
    before_seconds: float = 3.0
    after_seconds: float = 8.0


QUICK = Plan(rounds=1, seconds=1, before_seconds=2.0, after_seconds=6.0)


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: something is missing, a server failed, or can't be started, or answers
            otherwise than `mlflow models serve`.
    """
    require_wrk()
    for library in {KINDS[key].library for key in plan.models}:
        ENVIRONMENTS[library].prepare(BENCH)

    def measure(key: str, ground: Ground, checkouts: Sequence[Checkout]) -> dict[str, Any]:
        return _measure(plan, KINDS[key], ground, checkouts)

    return measure_parts(plan, plan.models, measure, targets)


def _measure(
    plan: Plan, kind: Kind, ground: Ground, checkouts: Sequence[Checkout]
) -> dict[str, Any]:
    environment = ENVIRONMENTS[kind.library]
    python = environment.prepare(BENCH)
    say(f"{kind.title}: saving a model ...")
    directory = ground.path(kind.key)
    directory.mkdir()
    _run_in(python, "benchmarks.kinds.saving", *kind.maker, str(directory))
    requests = Requests.load(directory / "rows.json")
    ground.registry.add_saved(kind.key, directory / "model", versions=2)
    ground.registry.promote(kind.key, 1)
    contest = Contest(ground, kind.key, requests, python, checkouts)
    result: dict[str, Any] = {"title": kind.title, "versions": environment.versions(python)}
    for part in plan.parts:
        match part:
            case "starts":
                result[part] = measure_starts(contest, plan.rounds)
            case "loads":
                result[part] = measure_loads(contest, plan.rounds, plan.seconds, plan.clients)
            case "alone":
                result[part] = _alone(python, directory, plan)
            case "promotion":
                result[part] = measure_promotion(contest, plan.before_seconds, plan.after_seconds)
    return result


def _alone(python: Path, directory: Path, plan: Plan) -> dict[str, Any]:
    """The model without a server: milliseconds for a row, by rows at a time."""
    paths = (str(directory / "model"), str(directory / "rows.json"))
    said = [
        _run_in(python, "benchmarks.kinds.alone", *paths, f"{plan.seconds}")
        for _ in range(plan.rounds)
    ]
    rounds = [json.loads(text.splitlines()[-1]) for text in said]
    return {size: Spread.of(each[size] for each in rounds).to_json() for size in rounds[0]}


def _run_in(python: Path, module: str, *arguments: str) -> str:
    command = [str(python), "-W", "ignore", "-m", module, *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{module} {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout


def targets(results: Mapping[str, Any]) -> Iterator[Target]:
    """The goals of what was measured."""
    measured = {key: results[key] for key in KINDS if key in results}
    for result in measured.values():
        yield from _speed_targets(result)
    if sizes := {r["title"]: r["starts"]["pss_times"][MLFLOW] for r in _with(measured, "starts")}:
        title, most = max(sizes.items(), key=lambda item: item[1]["median"])
        what = f"memory, times that of mlflow models serve, at most ({title})"
        yield Target(what, _MEMORY_TIMES, Spread(**most), at_least=False)
    back = {r["title"]: r["promotion"][NOW]["back_seconds"] for r in _with(measured, "promotion")}
    if back:
        title, longest = max(back.items(), key=lambda item: item[1])
        what = f"until a promoted version is as fast, at most ({title})"
        yield Target.at_most(what, _BACK_SECONDS, longest, " s")
    failures = sum(
        cell["failures"][NOW] for r in _with(measured, "loads") for cell in r["loads"]["cells"]
    ) + sum(r["promotion"][NOW]["failures"] for r in _with(measured, "promotion"))
    yield Target.at_most("requests to this server that failed", 0, failures)


def _with(results: Mapping[str, Any], part: Part) -> list[Mapping[str, Any]]:
    return [result for result in results.values() if part in result]


def _speed_targets(result: Mapping[str, Any]) -> Iterator[Target]:
    ratios = dict(_ratios(result))
    title = result["title"]
    at = f"requests/s at {_MERGED_CLIENTS}"
    if at in ratios:
        goal = _TIMES_IF_IT_PAYS if merging_pays(result) else _TIMES
        yield Target(f"{title}: {at}, times", goal, ratios.pop(at), at_least=True)
    if ratios:
        what, least = min(ratios.items(), key=lambda item: item[1].median)
        yield Target(f"{title}: least of all others ({what})", 1.0, least, at_least=True)


def merging_pays(result: Mapping[str, Any]) -> bool:
    """Whether the model alone is much faster per row for as many rows as there are clients."""
    if (alone := result.get("alone")) is None:
        return False
    one, several = (alone[f"{size}"]["median"] for size in (1, _MERGED_CLIENTS))
    return bool(one >= _TIMES_IF_IT_PAYS * several)


def _ratios(result: Mapping[str, Any]) -> Iterator[tuple[str, Spread]]:
    """By what this server is better than `mlflow models serve`; below 1 it is worse."""
    if loads := result.get("loads"):
        for cell in loads["cells"]:
            times = cell["requests_per_second_times"][MLFLOW]
            yield f"requests/s at {cell['clients']}", Spread(**times)
            if cell["clients"] == 1:
                yield "p50 at 1", Spread(**cell["p50_times"][MLFLOW])
        yield "1,000 rows", Spread(**loads["thousand_times"][MLFLOW])
    if starts := result.get("starts"):
        yield "start", Spread(**starts["seconds_times"][MLFLOW])
