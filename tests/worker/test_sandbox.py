"""The rules of the sandbox, on kernels of every kind, and what is said of them."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from server.worker import landlock
from server.worker.sandbox import Sandbox, lacking, tracking_store
from tests.support.server import REPOSITORY

confines = pytest.mark.skipif(landlock.abi() < 6, reason="this kernel can't hold all of it")


def in_a_process(code: str, *arguments: str) -> str:
    """Run code in a process of its own, as what is given up is gone for good."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("abi", "says"),
    [
        (0, "none: this kernel has no Landlock"),
        (1, "none: Landlock ABI 1 can't allow files to be moved between folders"),
        (2, "Landlock ABI 2: files (but not from being cut short), memory of other processes"),
        (3, "Landlock ABI 3: files, memory of other processes"),
        (5, "Landlock ABI 5: files, memory of other processes"),
        (6, "Landlock ABI 6: files, memory of other processes, signals, abstract sockets"),
        (9, "Landlock ABI 9: files, memory of other processes, signals, abstract sockets"),
    ],
)
def test_what_holds_is_what_the_kernel_can(abi: int, says: str) -> None:
    assert Sandbox("auto", (), abi).describe() == says
    assert (lacking(abi) is None) == (abi >= 6)
    assert Sandbox("off", (), abi).describe() == "none: SANDBOX=off"


@pytest.mark.parametrize("abi", [0, 1, 5])
def test_what_is_required_and_can_not_be_held_is_an_error(abi: int) -> None:
    sandbox = Sandbox("required", (), abi)
    with pytest.raises(OSError, match=r"SANDBOX=required: .*Landlock"):
        sandbox.enter()
    assert not sandbox.holds


@pytest.mark.parametrize("abi", [0, 1])
def test_a_kernel_that_can_hold_nothing_is_asked_for_nothing(abi: int, tmp_path: Path) -> None:
    sandbox = Sandbox("auto", (), abi)
    sandbox.enter()
    assert not sandbox.holds
    (tmp_path / "file").touch()


# As on a kernel of each version: what is newer than that is not asked for.
_TRIES = """
    import os, signal, sys
    from pathlib import Path
    from server.worker.sandbox import Sandbox

    def came(act):
        try:
            act()
        except OSError as error:
            return type(error).__name__
        return "done"

    inside, outside, abi = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    read_end, write_end = os.pipe()
    other = os.fork()
    if other == 0:
        # Until this process has ended.
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    sandbox = Sandbox("required" if abi >= 6 else "auto", (str(inside), "/not/there"), abi)
    for _ in range(2):
        sandbox.enter()
    print({
        "inside": came((inside / "new").touch),
        "moved": came(lambda: (inside / "new").rename(inside / "folder" / "new")),
        "outside": came((outside / "new").touch),
        "opened": came(lambda: (outside / "file").write_text("evil")),
        "cut": came(lambda: os.truncate(outside / "file", 0)),
        "traced": came(Path(f"/proc/{other}/mem").open),
        "signalled": came(lambda: os.kill(other, signal.SIGKILL)),
    })
    sys.stdout.flush()
    os._exit(0)
"""


@confines
@pytest.mark.parametrize("abi", [2, 3, 6])
def test_what_is_said_to_hold_holds(tmp_path: Path, abi: int) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "folder").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("good")

    found = eval(in_a_process(_TRIES, str(inside), str(outside), str(abi)))  # noqa: S307

    assert found == {
        "inside": "done",
        "moved": "done",
        "outside": "PermissionError",
        "opened": "PermissionError",
        "cut": "PermissionError" if abi >= 3 else "done",
        "traced": "PermissionError",
        "signalled": "PermissionError" if abi >= 6 else "done",
    }


@confines
def test_a_single_file_may_be_writable(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from server.worker.sandbox import Sandbox
        Sandbox("required", [sys.argv[1]], 6).enter()
        path = Path(sys.argv[1])
        path.write_text("written")
        try:
            path.with_name("other").touch()
        except PermissionError:
            print("denied")
    """
    file = tmp_path / "file"
    file.write_text("something longer")
    assert in_a_process(code, str(file)) == "denied"
    assert file.read_text() == "written"


@confines
def test_a_layer_that_is_refused_is_told_or_an_error() -> None:
    # The kernel takes sixteen.
    code = """
        from server.worker import landlock
        from server.worker.landlock import Files, Scopes
        from server.worker.sandbox import Sandbox
        inner = Sandbox("auto", (), 6)
        inner.enter()
        for _ in range(15):
            landlock.restrict(Files.MAKE_REG, Scopes(0), ())
        for sandbox in (Sandbox("auto", (), 6), Sandbox("required", (), 6), inner):
            try:
                sandbox.enter()
                print(sandbox.describe())
            except OSError as error:
                print(error.strerror)
    """
    assert in_a_process(code).splitlines() == [
        "none: the kernel refuses it: Argument list too long",
        "Argument list too long",
        "Argument list too long",
    ]


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        (None, ()),
        ("", ()),
        ("http://mlflow:5000", ()),
        ("https://user:secret@mlflow/path", ()),
        ("postgresql+psycopg2://mlflow@db/mlflow", ()),
        ("databricks", ()),
        ("databricks://profile", ()),
        ("sqlite://", ()),
        ("sqlite:///:memory:", ()),
        ("sqlite:////data/mlflow.db", ("/data",)),
        ("sqlite:////data/mlflow.db?timeout=10", ("/data",)),
        ("sqlite+pysqlite:////data/mlflow.db", ("/data",)),
        ("file:/data/mlruns", ("/data/mlruns",)),
        ("file:///data/ml%20runs", ("/data/ml runs",)),
        ("/data/mlruns", ("/data/mlruns",)),
        # This server's own code is in these.
        (f"sqlite:///{REPOSITORY}/mlflow.db", ()),
        ("file:///", ()),
    ],
)
def test_a_tracking_store_that_is_a_local_path_may_be_written_to(
    uri: str | None, folder: tuple[str, ...]
) -> None:
    assert tracking_store(uri) == folder


def test_only_what_may_be_a_refusal_is_explained() -> None:
    sandbox = Sandbox("auto", (), 6)
    wrapped = RuntimeError("can't load")
    wrapped.__cause__ = PermissionError(13, os.strerror(13))
    assert "SANDBOX_WRITABLE" in sandbox.explain(wrapped)
    for other in (ValueError("no"), FileNotFoundError(2, os.strerror(2))):
        assert sandbox.explain(other) == ""
    assert Sandbox("off", (), 6).explain(wrapped) == ""
