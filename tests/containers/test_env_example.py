"""The file that people copy to `.env`."""

import re

from tests.support.server import REPOSITORY


def test_lists_every_variable_with_its_default() -> None:
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    example = (REPOSITORY / ".env.example").read_text()
    read = set(re.findall(r"\$\{(\w+):-([^}]*)\}", compose))
    assert len(re.findall(r"\$\{", compose)) == len(re.findall(r"\$\{\w+:-", compose))
    assert read == set(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
