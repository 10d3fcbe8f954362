"""README's picture, `make screenshot`: a promotion in MLflow's UI, and what the server's log says.

Both are real: the demo runs, a browser promotes version 2 of a model in it, and the lines are those
that its server wrote.
"""

import base64
import html
import json
import re
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from demo.models import TOPICS
from tests.demo.running import Demo
from tests.support.browser import window
from tests.support.pages import DOCS
from tests.support.waiting import wait_until

PICTURE = DOCS / "promotion.png"
_WIDTH, _HEIGHT = 1120, 452
_EVENTS = ("version_moved", "model_swapped", "release_retired")
_PAGE = """
<style>
  body {{ margin: 0; background: #1c2733 }}
  img {{ display: block; width: 100% }}
  pre {{ margin: 0; padding: 14px 16px 18px; white-space: pre-wrap; word-break: break-all;
         font: 12.5px/1.6 "DejaVu Sans Mono", monospace; color: #b9c4ce }}
  b {{ color: #7ee0a5 }}
</style>
<img src="data:image/png;base64,{picture}"><pre>$ tail -f {name}.log
{lines}</pre>
"""


def main() -> None:
    """Take the picture."""
    with tempfile.TemporaryDirectory() as directory:
        demo = Demo(Path(directory))
        try:
            demo.start()
            with window(_WIDTH, _HEIGHT) as page:
                promote(page, demo.mlflow_url)
                log = Path(directory) / ".demo" / f"{TOPICS.name}.log"
                wait_until(lambda: "release_retired" in log.read_text(), "version 1 is retired")
                compose(page, show(page, demo.mlflow_url), log.read_text().splitlines())
        finally:
            demo.close()


def promote(page: Page, mlflow: str) -> None:
    """Put version 2 into Production, as README says it is done."""
    page.goto(f"{mlflow}/#/models/{TOPICS.name}/versions/2")
    page.get_by_role("switch", name="New model registry UI").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    stage = page.get_by_role("main").get_by_role("status")
    expect(stage).to_have_text("None")
    stage.click()
    page.get_by_role("menuitem").filter(has_text="Production").click()
    dialog = page.get_by_role("dialog", name="Stage transition")
    dialog.get_by_role("checkbox", name=re.compile("Transition existing")).check()
    dialog.get_by_role("button", name="OK").click()
    expect(stage).to_have_text("Production")


def show(page: Page, mlflow: str) -> bytes:
    """The model's versions with their stages, as the UI shows them."""
    page.goto(f"{mlflow}/#/models/{TOPICS.name}")
    # It stands beside the page, and is not what this is about.
    page.get_by_role("button", name="Close").first.click()
    expect(page.get_by_role("main").get_by_text("Archived")).to_be_visible()
    return page.screenshot(animations="disabled")


def compose(page: Page, picture: bytes, log: list[str]) -> None:
    """Save the UI with the log below it as one picture."""
    swap = [line for line in log if json.loads(line)["event"] in _EVENTS][-len(_EVENTS) :]
    lines = re.sub(
        r"(&quot;event&quot;:&quot;\w+&quot;)", r"<b>\1</b>", html.escape("\n".join(swap))
    )
    encoded = base64.b64encode(picture).decode()
    page.set_content(_PAGE.format(picture=encoded, name=TOPICS.name, lines=lines))
    page.screenshot(path=PICTURE, full_page=True)


if __name__ == "__main__":
    main()
