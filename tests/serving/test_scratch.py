"""Directories of a gateway's own, and what becomes of those that were left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.serving.scratch import Scratch, remove_tree
from tests.support.server import REPOSITORY


def mode(path: Path) -> int:
    """Who may do what with it."""
    return path.stat().st_mode & 0o777


def test_each_release_gets_an_empty_directory_that_others_can_not_read(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    first, second = scratch.new_directory("1"), scratch.new_directory("1")
    assert first != second
    assert list(first.iterdir()) == []
    assert {mode(scratch.path), mode(first), mode(second)} == {0o700}
    scratch.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["../../etc", "a/b", "m-0123", "", "\u00e9 \0"])
def test_no_label_leads_out_of_it(tmp_path: Path, label: str) -> None:
    scratch = Scratch(tmp_path)
    directory = scratch.new_directory(label)
    assert directory.parent == scratch.path
    assert directory.is_dir()
    scratch.close()


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    remove_tree(scratch.path)
    directory = scratch.new_directory("1")
    assert directory.is_dir()
    assert scratch.path.stat().st_mode & 0o077 == 0
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_gone_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    scratch = Scratch(parent)
    remove_tree(parent)
    with pytest.raises(OSError, match="No such file"):
        scratch.new_directory("1")
    scratch.close()


def make_and_kill(parent: Path) -> None:
    """Be a gateway that makes its directory and is killed."""
    code = f"""
import os, signal
from pathlib import Path
from server.serving.scratch import Scratch
(Scratch(Path({str(parent)!r})).new_directory("1") / "weights").write_text("many")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)


def test_what_a_killed_gateway_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    running = Scratch(tmp_path)
    make_and_kill(tmp_path)
    other = tmp_path / "mlflow-server-of-somebody-else"
    other.mkdir()
    (tmp_path / "mlflow-other").mkdir()
    assert len(list(tmp_path.iterdir())) == 4

    starting = Scratch(tmp_path)

    names = {running.path.name, starting.path.name, other.name, "mlflow-other"}
    assert {path.name for path in tmp_path.iterdir()} == names
    running.close()
    starting.close()


def test_gateways_that_start_together_leave_each_other_alone(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from server.serving.scratch import Scratch
for _ in range(300):
    scratch = Scratch(Path({str(tmp_path)!r}))
    scratch.new_directory("1")
    scratch.close()
"""
    gateways = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    errors = [gateway.communicate()[1] for gateway in gateways]
    assert errors == [""] * 4
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_nothing_to_remove(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never made")


def test_what_a_link_points_to_stays(tmp_path: Path) -> None:
    elsewhere, release = tmp_path / "elsewhere", tmp_path / "release"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    release.mkdir()
    (release / "link").symlink_to(elsewhere)
    outer = tmp_path / "outer link"
    outer.symlink_to(elsewhere)

    remove_tree(release)
    # Nobody, root included, may remove a tree through a link: this fails, and is not raised.
    remove_tree(outer)

    assert sorted(tmp_path.iterdir()) == [elsewhere, outer]
    assert (elsewhere / "file").exists()
