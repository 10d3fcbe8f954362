"""Virtual environments for peers that can't share this server's."""

import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError

# The same everywhere, so that every server runs the same prediction code.
_SHARED = ("mlflow", "scikit-learn", "pandas", "numpy")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: Of its directory.
        package: The peer's own package, whose version is reported.
        requirements: What goes in besides the packages that all share.
    """

    name: str
    package: str
    requirements: tuple[str, ...]

    def prepare(self, directory: Path) -> Path:
        """Make it below `directory` unless that has been done, and return where its programs are.

        Raises:
            BenchmarkError: pip failed.
        """
        root = directory / self.name
        wanted = [
            *self.requirements,
            *(f"{name}=={importlib.metadata.version(name)}" for name in _SHARED),
        ]
        done = root / "requirements.txt"
        text = "\n".join(wanted)
        if not done.exists() or done.read_text() != text:
            print(f"Installing {self.package} in a virtual environment of its own ...", flush=True)
            _run([sys.executable, "-m", "venv", "--clear", str(root)])
            _run([str(root / "bin" / "pip"), "install", "--quiet", *wanted])
            done.write_text(text)
        return root / "bin"

    def version(self, programs: Path) -> str:
        """The version of the peer's package, given where the programs are."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return _run([str(programs / "python"), "-c", code]).strip()


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    return result.stdout
