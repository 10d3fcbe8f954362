"""Links in a model's files that lead to other files of this machine."""

import os
from pathlib import Path


class LeadsOut(Exception):
    """Such a link is among a model's files."""


def refuse_links_out(directory: str) -> None:
    """Look at all files of a model; links to one another are let be.

    Raises:
        LeadsOut: names the first link that leads out, relative to the directory.
        OSError: the files can't be looked at.
    """
    model = Path(directory).resolve()
    for parent, directories, files in os.walk(model, onerror=_raise):
        for path in (Path(parent, name) for name in (*directories, *files)):
            if path.is_symlink() and not _target(path).is_relative_to(model):
                name = path.relative_to(model)
                raise LeadsOut(f"{name} is a link that leads out of the model's directory")


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except RuntimeError:  # it leads in a circle (Python 3.12 and older): nowhere
        return link


def _raise(error: OSError) -> None:
    raise error
