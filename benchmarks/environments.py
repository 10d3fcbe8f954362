"""Virtual environments: for peers that can't share this server's, and for models' libraries."""

import configparser
import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.paths import REPOSITORY

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
        wanted = [
            *self.requirements,
            *(f"{name}=={importlib.metadata.version(name)}" for name in _SHARED),
        ]
        return _install(directory / self.name, self.package, wanted)

    def version(self, programs: Path) -> str:
        """The version of the peer's package, given where the programs are."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return _run([str(programs / "python"), "-c", code]).strip()


@dataclass(frozen=True, slots=True)
class ServingEnvironment:
    """A virtual environment with what this server needs, and what the models that it is to serve
    need besides.

    Attributes:
        name: Of its directory.
        libraries: What goes in besides this server's requirements, with its constraints.
    """

    name: str
    libraries: tuple[str, ...]

    def prepare(self, directory: Path) -> Path:
        """Make it below `directory` unless that has been done, and return its Python.

        Raises:
            BenchmarkError: pip failed.
        """
        setup = configparser.ConfigParser()
        setup.read(REPOSITORY / "setup.cfg")
        own = setup["options"]["install_requires"].split()
        title = " and ".join(self.libraries)
        constraints = REPOSITORY / "constraints.txt"
        programs = _install(directory / self.name, title, [*own, *self.libraries], constraints)
        return programs / "python"

    def versions(self, python: Path) -> dict[str, str]:
        """The installed versions of the libraries, given its Python."""
        names = [library.partition("==")[0] for library in self.libraries]
        code = (
            f"import importlib.metadata as m, json; print(json.dumps([*map(m.version, {names})]))"
        )
        return dict(zip(names, json.loads(_run([str(python), "-c", code])), strict=True))


def _install(
    root: Path, title: str, requirements: list[str], constraints: Path | None = None
) -> Path:
    """Make an environment, unless that has been done with the same requirements and constraints;
    return where its programs are."""
    done = root / "requirements.txt"
    text = "\n".join([*requirements, *([constraints.read_text()] if constraints else ())])
    if not done.exists() or done.read_text() != text:
        print(f"Installing {title} in a virtual environment of its own ...", flush=True)
        bounds = ["--constraint", str(constraints)] if constraints else []
        _run([sys.executable, "-m", "venv", "--clear", str(root)])
        _run([str(root / "bin" / "pip"), "install", "--quiet", *bounds, *requirements])
        done.write_text(text)
    return root / "bin"


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    return result.stdout
