"""The table in docs/settings.md: `make docs` writes it."""

from server.usage import reference
from tests.support.pages import DOCS

PAGE = DOCS / "settings.md"
BEGIN = "<!-- Made from server/settings.py by `make docs`. -->\n"
END = "<!-- The end of what is made. -->\n"


def with_table(page: str) -> str:
    """The page with its table made afresh."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def table() -> str:
    """A row for each setting, in the order of `--help`."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for variable, default, description in reference():
        cells = (f"`{variable}`", default, description.replace("|", "\\|"))
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
