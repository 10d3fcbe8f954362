"""README, CONTRIBUTING and docs/: their links lead somewhere, and they say a thing once."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import CONTRIBUTING, DOCS, PAGES, README, code, prose, rows, shown_code
from tests.support.server import REPOSITORY

CHANGELOG = REPOSITORY / "CHANGELOG.md"
EVERY_PAGE = [*PAGES, CHANGELOG]

# Shorter ones are names and phrases that may well stand in two places.
FEWEST_WORDS = 6
LONGEST_CODE_TWICE = 40

_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")


def sentences(page: Path) -> Iterator[str]:
    """What a page says: sentences, items of lists and cells of tables, as words in lower case."""
    text = _LINK.sub(r"\1", prose(page))
    text = re.sub(r"^(?:[-*] |\d+\. |#+ )", "\n\n", text, flags=re.MULTILINE)
    for piece in re.split(r"\n\s*\n|\||(?<=[.:;!?])\s", text):
        words = re.findall(r"\w+", piece.lower())
        if len(words) >= FEWEST_WORDS:
            yield " ".join(words)


def long_commands(page: Path) -> Iterator[str]:
    """The lines of code that are too long to be on two pages by chance."""
    lines = (" ".join(line.split()) for line in shown_code(page).splitlines())
    yield from (line for line in lines if len(line) > LONGEST_CODE_TWICE)


def links(page: Path) -> list[str]:
    """Where a page's links and pictures are."""
    return [address for _, address in _LINK.findall(page.read_text())]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_readme_fits_its_150_lines() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_readme_leads_to_every_page() -> None:
    linked = {(REPOSITORY / link).resolve() for link in links(README)}
    assert set(PAGES) - {README} <= linked


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_picture_is_small_enough_for_a_page() -> None:
    assert 10_000 < (DOCS / "promotion.png").stat().st_size < 250_000


def test_no_sentence_stands_twice() -> None:
    said = Counter(sentence for page in PAGES for sentence in sentences(page))
    assert [sentence for sentence, times in said.items() if times > 1] == []


def test_no_long_line_of_code_stands_twice() -> None:
    shown = Counter(line for page in PAGES for line in long_commands(page))
    assert [line for line, times in shown.items() if times > 1] == []


def test_every_path_that_is_named_exists() -> None:
    for page in PAGES:
        for name in code(prose(page)):
            if re.fullmatch(r"(?:server|watcher|tests|demo|benchmarks|docs|\.ci)/[\w./-]*", name):
                assert (REPOSITORY / name).exists(), f"{page.name}: {name}"


def test_the_map_names_every_room() -> None:
    named = {
        (REPOSITORY / name).parent if name.endswith(".py") else REPOSITORY / name
        for _, places in rows(CONTRIBUTING, "to change")
        for name in code(places)
    }
    rooms = {
        path.parent for room in ("server", "watcher") for path in (REPOSITORY / room).rglob("*.py")
    }
    assert rooms - named == set()
