"""docs/security.md: each claim has a test beside it, and there is such a test."""

import ast

import pytest

from tests.support.pages import DOCS, code, rows
from tests.support.server import REPOSITORY

SECURITY = DOCS / "security.md"
HEADINGS = ("a client can't", "a model can't", "whoever registers can't", "nobody reads")
CLAIMS = [row for heading in HEADINGS for row in rows(SECURITY, heading)]


def functions(path: str) -> set[str]:
    """The functions in a file of the repository."""
    tree = ast.parse((REPOSITORY / path).read_text())
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, defined)}


def test_there_are_claims_of_each_kind() -> None:
    assert [heading for heading in HEADINGS if not list(rows(SECURITY, heading))] == []


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda row: row[0][:60])
def test_each_claim_has_a_test(claim: list[str]) -> None:
    *_, tests = claim
    named = code(tests)
    assert named
    for node in named:
        path, _, name = node.partition("::")
        assert path.startswith("tests/")
        assert name.startswith("test_")
        assert name in functions(path), node
