"""What chaos does to the stack: a random schedule that a seed determines."""

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.end_to_end.faults.proxy import Cut, Delay, Drop, Fault, Garble, Proxy, http
from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry
from tests.support.server import Server
from tests.support.tracking import TrackingServer
from tests.support.waiting_models import save_waiting

MODEL = "chaos"
GOOD = {"1": "one", "2": "two", "3": "three"}
"""What each good version answers."""

# A version whose workers die five times within a minute is given up, which is another story.
_MOST_KILLS_A_MINUTE = 3
_FAULTS: tuple[Fault, ...] = (
    Garble(),
    Drop(),
    Cut(40),
    Delay(0.4),
    http("500 Internal Server Error", b"no database"),
    http("200 OK", b"<html>maintenance</html>", "Content-Type: text/html"),
)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version was put into Production between these two moments (seconds, monotonic)."""

    version: str
    begun: float
    done: float


class Stack:
    """A tracking server, a proxy that spoils its answers, and a model server behind the proxy.

    Args:
        directory: For everything that they write.
        database: The tracking server's at the start: making its tables takes seconds.
        streams: Whether the good versions wait and stream.
        settings: More settings of the model server.
    """

    def __init__(
        self,
        directory: Path,
        database: Path | None = None,
        *,
        streams: bool = False,
        **settings: str,
    ) -> None:
        for name in ("tracking", "models", "scratch"):
            (directory / name).mkdir()
        if database is not None:
            shutil.copy(database, directory / "tracking")
        self.tracking = TrackingServer(directory / "tracking")
        self.tracking.start()
        self.proxy = Proxy(self.tracking.port)
        self.registry = HttpRegistry(self.tracking.url)
        self.promotions: list[Promotion] = []
        saved = SavedModels(directory / "models")
        self.registry.create(MODEL)
        for word in GOOD.values():
            waiting = save_waiting(saved, word, wait=0.01, streams=True) if streams else None
            self.registry.add(MODEL, waiting or saved.saying(word))
        self.broken = [
            self.registry.add(MODEL, saved.save("return []", load=body))
            for body in ("raise ValueError('no weights')", "import os; os._exit(1)")
        ]
        self.broken.append(self.registry.add(MODEL, saved.save("raise KeyError('no word')")))
        self.promote("1")
        self.server = Server(
            directory / "scratch",
            MODEL_URI=f"models:/{MODEL}/Production",
            MLFLOW_TRACKING_URI=self.proxy.url,
            # MLflow's own patience with a spoiled download is minutes, in which a reload waits.
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
            MLFLOW_HTTP_REQUEST_TIMEOUT="10",
            **settings,
        )
        self.server.wait_healthy()

    def promote(self, version: str) -> None:
        """Put a version into Production, alone."""
        begun = time.monotonic()
        self.registry.promote(MODEL, version)
        self.promotions.append(Promotion(version, begun, time.monotonic()))

    def close(self) -> None:
        """End everything."""
        try:
            self.server.close()
        finally:
            self.proxy.close()
            self.tracking.kill()


class Schedule:
    """Does one thing after the other until its time is over, and mends everything then.

    Args:
        stack: What it happens to.
        seed: Determines what happens and when.
        kills: Whether processes of the server are killed.

    Attributes:
        done: What it has done so far, in words.
        kills: When workers were killed (seconds, monotonic).
        losses: When processes were killed that workers are forked from.
    """

    def __init__(self, stack: Stack, seed: int, *, kills: bool) -> None:
        self.done: list[str] = []
        self.kills: list[float] = []
        self.losses: list[float] = []
        self._stack = stack
        self._chance = random.Random(seed)  # noqa: S311
        self._away: threading.Thread | None = None
        actions: list[tuple[int, Callable[[], str | None]]] = [
            (5, self._promote_good),
            (2, self._promote_broken),
            (3, self._reload),
            (2, self._spoil),
            (2, self._heal),
            (1, self._outage),
        ]
        if kills:
            actions += [
                (3, self._kill_worker),
                (1, self._kill_environment),
                (1, self._kill_templates),
            ]
        self._weights = [weight for weight, _ in actions]
        self._actions = [action for _, action in actions]

    def run(self, seconds: float) -> str:
        """Be chaos for so long; then return the version that is in Production at the end."""
        end = time.monotonic() + seconds
        pause = threading.Event()
        # Each once, in any order, and then as chance has it.
        first = self._chance.sample(self._actions, len(self._actions))
        while time.monotonic() < end:
            action = first.pop() if first else self._any_action()
            what = action()
            if what is not None:
                self.done.append(what)
            pause.wait(self._chance.uniform(0.2, 1.0))
        if self._away is not None:
            self._away.join()
        self._heal()
        return self._last_promotion()

    def _any_action(self) -> Callable[[], str | None]:
        (action,) = self._chance.choices(self._actions, self._weights)
        return action

    def _last_promotion(self) -> str:
        version = self._chance.choice(sorted(GOOD))
        self._stack.promote(version)
        self.done.append(f"promote v{version}")
        return version

    def _promote_good(self) -> str | None:
        return self._promote(sorted(GOOD))

    def _promote_broken(self) -> str | None:
        return self._promote(self._stack.broken)

    def _promote(self, versions: list[str]) -> str | None:
        version = self._chance.choice(versions)
        if self._away is not None and self._away.is_alive():
            return None
        self._stack.promote(version)
        return f"promote v{version}"

    def _reload(self) -> str:
        return f"reload: {self._stack.server.reload().status}"

    def _spoil(self) -> str:
        fault = self._chance.choice(_FAULTS)
        self._stack.proxy.suffer(fault)
        return f"spoil: {type(fault).__name__}"

    def _heal(self) -> str:
        self._stack.proxy.heal()
        return "heal"

    def _kill_worker(self) -> str | None:
        now = time.monotonic()
        if sum(moment > now - 60 for moment in self.kills) >= _MOST_KILLS_A_MINUTE:
            return None
        for pid in self._stack.server.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.kills.append(now)
        return "kill a worker"

    def _kill_environment(self) -> str | None:
        return self._kill_all("environment")

    def _kill_templates(self) -> str | None:
        return self._kill_all("template")

    def _kill_all(self, name: str) -> str | None:
        processes = self._stack.server.named(name)
        for process in processes:
            self.losses.append(time.monotonic())
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return f"kill {len(processes)} of {name}" if processes else None

    def _outage(self) -> str | None:
        if self._away is not None:
            # It takes seconds to come back; once is enough.
            return None
        self._stack.tracking.kill()
        self._away = threading.Thread(target=self._stack.tracking.start)
        self._away.start()
        return "the tracking server is killed and started again"
