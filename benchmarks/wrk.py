"""Closed-loop load with wrk."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.paths import PACKAGE

_SCRIPT = PACKAGE / "post.lua"
_GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk counted.

    Attributes:
        requests_per_second: Answers with a status below 400, per second.
        p50_ms: Median latency of all answers.
        p99_ms: Its 99th percentile.
        max_ms: The longest.
        requests: All answers.
        not_ok: Answers with a status of 400 or more.
        broken: Connections that failed, and answers that took longer than 10 s.
    """

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    requests: int
    not_ok: int
    broken: int

    @property
    def failures(self) -> int:
        """All that wasn't answered as it should be."""
        return self.not_ok + self.broken


def require_wrk() -> None:
    """Raise BenchmarkError where wrk isn't installed."""
    if shutil.which("wrk") is None:
        raise BenchmarkError(
            "This benchmark makes its load with wrk, which isn't installed. On Debian and Ubuntu: "
            "apt-get install wrk"
        )


def run_wrk(url: str, bodies: Path, connections: int, seconds: int) -> WrkResult:
    """Post as fast as so many connections allow, each waiting for its answer.

    Args:
        url: Where to.
        bodies: A file with a body on each line, which take turns.
        connections: How many.
        seconds: How long.

    Raises:
        BenchmarkError: wrk failed.
    """
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--timeout", "10s", "--script", str(_SCRIPT)),
        *(url, "--", str(bodies)),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds + _GRACE_SECONDS
    )
    if result.returncode != 0:
        raise BenchmarkError(f"wrk failed: {result.stderr.strip() or result.stdout.strip()}")
    return parse_wrk(json.loads(result.stdout.splitlines()[-1]))


def parse_wrk(summary: dict[str, Any]) -> WrkResult:
    """Read what post.lua prints."""
    good = summary["requests"] - summary["not_ok"]
    return WrkResult(
        requests_per_second=good / (summary["microseconds"] / 1e6),
        p50_ms=summary["p50"] / 1000,
        p99_ms=summary["p99"] / 1000,
        max_ms=summary["max"] / 1000,
        requests=summary["requests"],
        not_ok=summary["not_ok"],
        broken=summary["broken"],
    )
