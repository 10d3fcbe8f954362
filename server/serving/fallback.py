"""The version to go back to, should the one that serves be given up."""

from server.serving.release import Release
from server.serving.swaps import Swap
from watcher.versions import ModelVersion


class Fallback:
    """Remembers the last version that served and was sound when another took its place.

    Attributes:
        version: That version; None where nothing is known to be good.
    """

    def __init__(self) -> None:
        self.version: ModelVersion | None = None

    def note(self, retired: Release, swap: Swap) -> None:
        """Note that a release was replaced."""
        if swap.version_changed and retired.sound:
            self.version = retired.model
        elif self.version and self.version.identity == swap.new.identity:
            # Nothing goes back to itself.
            self.version = None

    def spend(self) -> None:
        """Note that the version serves again: there is nothing known to be good before it."""
        self.version = None
