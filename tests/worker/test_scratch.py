"""Whether workers may share the temporary files of the process that has loaded the model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.worker.scratch import look_at_files, what_forbids_sharing


def found(folder: Path, predict: Callable[[], object], *, asked: bool = True) -> str | None:
    loaded = look_at_files(folder)
    predict()
    return what_forbids_sharing(loaded, look_at_files(folder), asked=asked)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One in which loading has left a folder with a file in it."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "words").write_text("one")
    return tmp_path


def test_files_that_are_read_may_be_shared(folder: Path) -> None:
    assert found(folder, (folder / "kept" / "words").read_text) is None


def test_what_predictions_make_for_themselves_does_not_count(folder: Path) -> None:
    assert found(folder, lambda: (folder / "own").write_text("two")) is None


@pytest.mark.parametrize(
    "predict",
    [
        lambda kept: (kept / "words").write_text("another"),
        lambda kept: (kept / "more").write_text("two"),
        lambda kept: (kept / "words").unlink(),
        lambda kept: (kept / "words").rename(kept / "others"),
    ],
    ids=["overwritten", "added", "removed", "renamed"],
)
def test_what_loading_has_made_must_not_be_written_to(
    folder: Path, predict: Callable[[Path], object]
) -> None:
    assert "write to temporary files" in str(found(folder, lambda: predict(folder / "kept")))


def test_without_a_request_nothing_shows_what_becomes_of_them(folder: Path) -> None:
    assert "no request shows" in str(found(folder, lambda: None, asked=False))


def test_without_files_nothing_need_be_shown(tmp_path: Path) -> None:
    assert found(tmp_path, lambda: None, asked=False) is None
