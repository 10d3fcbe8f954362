"""What is told of swaps: to the log, and to whoever asks how the last one went."""

from collections import Counter
from datetime import UTC, datetime

import structlog

from server.errors import LoadFailed
from server.serving.release import Release
from server.serving.swaps import LastReload, Run, Swap, Trigger
from watcher.versions import ModelVersion

log = structlog.get_logger("server.serving.reports")


class Reports:
    """Tells of each swap, and of each that failed.

    Attributes:
        last: How the last one went.
        counts: How many there were, by what asked for them and what came of it.
    """

    def __init__(self) -> None:
        self.last: LastReload | None = None
        self.counts: Counter[tuple[str, str]] = Counter()

    def swapped(self, run: Run, swap: Swap, release: Release, seconds: float) -> None:
        """Log a swap.

        Args:
            seconds: What it took from the registry's answer on.
        """
        log.info(
            "model_swapped",
            old_version=swap.old and swap.old.display,
            new_version=swap.new.display,
            trigger=run.trigger,
            version_changed=swap.version_changed,
            load_seconds=round(seconds, 3),
            rehearsed=release.ready.rehearsed if release.ready else 0,
            answers_changed=swap.answers_changed,
            answers_failed=swap.answers_failed,
            workers_share=release.unshared is None,
            sandbox=release.ready.sandbox if release.ready else None,
            **({"workers_share_reason": release.unshared} if release.unshared else {}),
            **({"rehearsal_left_out": release.left_out} if release.left_out else {}),
            **({"replay_skipped": release.replay_skipped} if release.replay_skipped else {}),
            **({"rehearsal_skipped": True} if run.force else {}),
            **run.log_fields,
        )

    def failed(
        self,
        run: Run,
        error: LoadFailed,
        serving: ModelVersion | None,
        failed: ModelVersion | None,
        retry_in_seconds: float | None,
    ) -> None:
        """Log a swap that did not happen, and what serves on."""
        log.error(
            "reload_failed",
            trigger=run.trigger,
            serving_version=serving and serving.display,
            failed_version=failed and failed.display,
            phase=error.phase,
            error=str(error),
            retry_in_seconds=retry_in_seconds,
            **error.details,
            **run.log_fields,
        )

    def note(self, trigger: Trigger, outcome: str, error: str | None = None) -> None:
        """Count what came of a request to swap."""
        self.last = LastReload(trigger, outcome, datetime.now(UTC), error)
        self.counts[trigger, outcome] += 1
