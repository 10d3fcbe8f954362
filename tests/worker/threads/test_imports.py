"""What is told to a library as soon as it is imported."""

import subprocess
import sys
import textwrap
from pathlib import Path


def run(directory: Path, code: str) -> str:
    """What this code prints, with the modules of this directory."""
    begin = f"import sys; sys.path.insert(0, {str(directory)!r})\n"
    begin += "from server.worker.threads.imports import when_imported\n"
    command = [sys.executable, "-c", begin + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_module_is_told_at_once_or_when_it_is_imported_and_only_once(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("number = 1")
    (tmp_path / "late.py").write_text("number = 2")
    code = """
        import early
        told = []
        names = ("early", "late", "never")
        when_imported({name: lambda module: told.append(module.number) for name in names})
        print(told)
        import early, late, late
        print(told)
    """
    assert run(tmp_path, code).split("\n") == ["[1]", "[1, 2]"]


def test_it_is_told_before_who_imports_it_sees_it(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("number = 2")
    code = """
        when_imported({"late": lambda module: setattr(module, "number", 3)})
        from late import number
        print(number)
    """
    assert run(tmp_path, code) == "3"


def test_whoever_only_looks_for_it_does_not_import_it(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("print('imported')")
    code = """
        from importlib.util import find_spec
        when_imported({"late": lambda module: print("told"), "nowhere": print})
        print(find_spec("late").loader.get_source("late"))
        print(find_spec("nowhere"), "late" in sys.modules)
        import late
    """
    assert run(tmp_path, code).split("\n") == [
        "print('imported')",
        "None False",
        "imported",
        "told",
    ]


def test_what_a_package_brings_is_found_as_before(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("number = 4")
    (package / "data.txt").write_text("data")
    code = """
        when_imported({"package": lambda module: None})
        import package.part
        from importlib.resources import files
        print(package.part.number, files("package").joinpath("data.txt").read_text())
    """
    assert run(tmp_path, code) == "4 data"


def test_what_fails_to_be_imported_is_told_when_that_succeeds(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("import sys; 1 / sys.divisor")
    code = """
        sys.divisor = 0
        when_imported({"late": lambda module: print("told")})
        try:
            import late
        except ZeroDivisionError:
            print("failed")
        sys.divisor = 1
        import late
    """
    assert run(tmp_path, code).split("\n") == ["failed", "told"]
