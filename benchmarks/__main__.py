"""`python -m benchmarks COMMAND`: measure, and write the results."""

import argparse
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Collection
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks import payloads, report, swap, throughput
from benchmarks.errors import BenchmarkError
from benchmarks.kinds import benchmark as kinds
from benchmarks.kinds.catalogue import KINDS
from benchmarks.paths import RESULTS
from benchmarks.waiting import benchmark as waiting
from benchmarks.workers import benchmark as workers


def main(arguments: list[str]) -> int:
    """Run the command and return the exit code: 0, or 1 if something is missing or failed."""
    options = _parser().parse_args(arguments)
    # As Ctrl-C does, so that servers are ended.
    signal.signal(signal.SIGTERM, _exit)
    _quieten_mlflow()
    try:
        if options.command == "report":
            for benchmark in report.BENCHMARKS:
                if (options.output / f"{benchmark}.json").exists():
                    print(f"Wrote {report.render(benchmark, options.output)}")
        else:
            path = report.write(options.command, options.run(options), options.output)
            print(f"\n{path.read_text()}\nWrote {path}")
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures this server on this machine, over loopback.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS,
        metavar="DIRECTORY",
        help="where the results go; benchmarks/results unless given",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("throughput", help="requests per second, against other servers")
    command.set_defaults(run=_throughput)
    command.add_argument("--quick", action="store_true", help="about 2 minutes, fewer servers")
    command.add_argument(
        "--servers",
        type=_names(throughput.COMPETITORS),
        metavar="A,B",
        help=f"of {', '.join(throughput.COMPETITORS)}",
    )
    command.add_argument("--connections", type=_counts, metavar="N,M", help="1,16,64,256")
    command.add_argument("--rounds", type=_count, metavar="N")
    command.add_argument("--seconds", type=_count, metavar="N", help="of each measurement")

    command = commands.add_parser("swap", help="latencies while versions are swapped under load")
    command.set_defaults(run=_swap)
    command.add_argument("--quick", action="store_true", help="about 2 minutes, /reload only")
    command.add_argument("--swaps", type=_count, metavar="N", help="by each trigger")
    command.add_argument("--every-seconds", type=_duration, metavar="N")
    command.add_argument(
        "--rate", type=_duration, metavar="N", help="requests/s, if not to be found"
    )
    command.add_argument("--triggers", type=_names(("reload", "watcher")), metavar="A,B")

    command = commands.add_parser("payloads", help="time per request, by rows and columns")
    command.set_defaults(run=_payloads)
    command.add_argument("--quick", action="store_true", help="about 2 minutes")
    command.add_argument("--rows", type=_counts, metavar="N,M", help="1,100,10000")
    command.add_argument("--columns", type=_counts, metavar="N,M", help="1,50,600")
    command.add_argument("--rounds", type=_count, metavar="N")
    command.add_argument("--seconds", type=_duration, metavar="N", help="of each measurement")

    command = commands.add_parser("workers", help="memory of workers, and what losing one costs")
    command.set_defaults(run=_workers)
    command.add_argument("--quick", action="store_true", help="about 3 minutes")
    command.add_argument(
        "--before", type=Path, metavar="DIRECTORY", help="another checkout to compare with"
    )
    command.add_argument(
        "--checkout", type=Path, metavar="DIRECTORY", help="what is measured; this one unless given"
    )
    command.add_argument("--parts", type=_names(workers.PARTS), metavar="A,B")
    command.add_argument(
        "--predictions", type=_count, metavar="N", help="before memory is measured again"
    )
    command.add_argument("--mebibytes", type=_duration, metavar="N", help="of the models' size")
    command.add_argument(
        "--load-seconds", type=_duration, metavar="N", help="of the model whose worker is killed"
    )
    command.add_argument("--kills", type=_count, metavar="N", help="of workers, of each checkout")
    command.add_argument("--killer-seconds", type=_duration, metavar="N")
    command.add_argument("--swaps", type=_count, metavar="N", help="of each checkout")

    command = commands.add_parser("waiting", help="models that wait, and models that stream")
    command.set_defaults(run=_waiting)
    command.add_argument("--quick", action="store_true", help="about 3 minutes")
    command.add_argument(
        "--before", type=Path, metavar="DIRECTORY", help="another checkout to compare with"
    )
    command.add_argument(
        "--checkout", type=Path, metavar="DIRECTORY", help="what is measured; this one unless given"
    )
    command.add_argument("--parts", type=_names(waiting.PARTS), metavar="A,B")
    command.add_argument("--rounds", type=_count, metavar="N")
    command.add_argument("--seconds", type=_duration, metavar="N", help="of each measurement")
    command.add_argument("--classifier-rounds", type=_count, metavar="N", help="starts")
    command.add_argument("--classifier-seconds", type=_count, metavar="N", help="of each turn")

    command = commands.add_parser("models", help="types of models, against mlflow models serve")
    command.set_defaults(run=_models)
    command.add_argument("--quick", action="store_true", help="about a minute for each type")
    command.add_argument(
        "--before", type=Path, metavar="DIRECTORY", help="another checkout to compare with"
    )
    command.add_argument(
        "--checkout", type=Path, metavar="DIRECTORY", help="what is measured; this one unless given"
    )
    command.add_argument(
        "--models", type=_names(KINDS), metavar="A,B", help=f"of {', '.join(KINDS)}"
    )
    command.add_argument(
        "--parts", type=_names(kinds.PARTS), metavar="A,B", help=f"of {', '.join(kinds.PARTS)}"
    )
    command.add_argument("--clients", type=_counts, metavar="N,M", help="1,16,64")
    command.add_argument("--rounds", type=_count, metavar="N")
    command.add_argument("--seconds", type=_count, metavar="N", help="of each measurement")

    commands.add_parser("report", help="make tables and charts anew from the kept JSON")
    return parser


def _throughput(options: argparse.Namespace) -> dict[str, Any]:
    plan = throughput.QUICK if options.quick else throughput.Plan()
    return throughput.run(replace(plan, **_given(plan, options)))


def _swap(options: argparse.Namespace) -> dict[str, Any]:
    plan = swap.QUICK if options.quick else swap.Plan()
    return swap.run(replace(plan, **_given(plan, options)))


def _payloads(options: argparse.Namespace) -> dict[str, Any]:
    plan = payloads.QUICK if options.quick else payloads.Plan()
    return payloads.run(replace(plan, **_given(plan, options)))


def _workers(options: argparse.Namespace) -> dict[str, Any]:
    plan = workers.QUICK if options.quick else workers.Plan()
    return workers.run(replace(plan, **_given(plan, options)))


def _waiting(options: argparse.Namespace) -> dict[str, Any]:
    plan = waiting.QUICK if options.quick else waiting.Plan()
    return waiting.run(replace(plan, **_given(plan, options)))


def _models(options: argparse.Namespace) -> dict[str, Any]:
    plan = kinds.QUICK if options.quick else kinds.Plan()
    return kinds.run(replace(plan, **_given(plan, options)))


def _given(plan: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The options that override a plan's fields."""
    values = {field.name: getattr(options, field.name, None) for field in fields(plan)}
    return {name: value for name, value in values.items() if value is not None}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: it takes a whole number above 0")
    return int(text)


def _counts(text: str) -> list[int]:
    return sorted({_count(part) for part in text.split(",")})


def _duration(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: it takes a number above 0")
    return value


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}: it takes {', '.join(known)}")
        return names

    return parse


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


def _quieten_mlflow() -> None:
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # Stages are deprecated, and used here as they are what most people promote by.
    warnings.filterwarnings("ignore", ".*stages", FutureWarning)
    warnings.filterwarnings("ignore", ".*AnyType", UserWarning)
    # It is deprecated, too, and there are many.
    warnings.filterwarnings("ignore", ".*ChatModel", FutureWarning)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
