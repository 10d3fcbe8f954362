"""Imported by the fork server, which knows modules by name alone: does what `preload` does, under
the name that workers have for this package."""

from .alias import import_privately

import_privately("preload")
