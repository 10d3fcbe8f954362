"""Links among a model's files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from server.worker.links import LeadsOut, refuse_links_out
from server.worker.loading import fetch
from server.worker.spec import DownloadSpec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's directory, which others know by a link to it."""
    (tmp_path / "files" / "data").mkdir(parents=True)
    (tmp_path / "files" / "MLmodel").write_text("flavors: {}")
    link = tmp_path / "model"
    link.symlink_to("files")
    return link


@pytest.mark.parametrize(
    ("name", "target"),
    [("same", "MLmodel"), ("data/up", "../MLmodel"), ("all", "data"), ("loop", "loop")],
)
def test_a_link_to_another_file_of_the_model_is_let_be(model: Path, name: str, target: str) -> None:
    (model / name).symlink_to(target)
    refuse_links_out(str(model))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("weights", "/etc/passwd"),
        ("data/all", "/etc"),
        ("data/up", "../../elsewhere"),
        ("weights", "/nowhere/at/all"),
        ("weights", "/proc/self/environ"),
    ],
)
def test_a_link_that_leads_out_is_named(model: Path, name: str, target: str) -> None:
    (model / name).symlink_to(target)
    with pytest.raises(LeadsOut, match=f"^{name} is a link"):
        refuse_links_out(str(model))


def test_a_link_by_way_of_another_is_followed(model: Path) -> None:
    (model / "data" / "first").symlink_to("second")
    (model / "data" / "second").symlink_to("../..")
    with pytest.raises(LeadsOut):
        refuse_links_out(str(model))


class _LinkKeeping(LocalArtifactRepository):
    """A store that brings links along, as one that unpacks an archive may."""

    def __init__(self, artifact_uri: str, *_: object, **__: object) -> None:
        super().__init__(artifact_uri.removeprefix("keeping:"))

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        assert dst_path is not None
        source, target = (Path(parent, artifact_path) for parent in (self.artifact_dir, dst_path))
        return str(shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True))


@pytest.fixture
def keeping() -> Iterator[str]:
    """The scheme of a store that keeps links."""
    registry = artifact_repository_registry._artifact_repository_registry
    registry.register("keeping", _LinkKeeping)  # type: ignore[no-untyped-call]
    yield "keeping"
    del registry._registry["keeping"]


def test_links_that_an_artifact_store_brings_along_are_looked_at(
    model: Path, keeping: str, tmp_path: Path
) -> None:
    spec = DownloadSpec(f"{keeping}:{model}", str(tmp_path / "release"), registered=True)
    assert Path(fetch(spec), "MLmodel").exists()
    (model / "weights").symlink_to("/etc/passwd")
    with pytest.raises(LeadsOut, match="weights"):
        fetch(spec)
