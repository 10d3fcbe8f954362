"""A real browser: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def window(width: int = 1440, height: int = 900, flags: Sequence[str] = ()) -> Iterator[Page]:
    """A window, in pixels, of a browser that was never used before, with more flags."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*_FLAGS, *flags])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(20_000)
        expect.set_options(20_000)
        yield page
        browser.close()
