"""Make the pictures of README: the monitoring report and the service's page, of `make loop`.

    make loop
    python examples/pictures.py

It needs the development packages (selenium) and a Chromium with its driver on the path. Pictures
show the top of each page, as PNG below 150 kB each, in docs/images/.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loop

FOLDER = loop.ROOT / "docs" / "images"
WIDTH, HEIGHT = 1100, 820
MOST_BYTES = 150_000


def main() -> None:
    """Make both pictures."""
    report = loop.PLACE / "reports" / "monitor.html"
    if not report.is_file():
        sys.exit(f"{report} isn't there: run `make loop` first")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with browser() as page:
        page.get(report.as_uri())
        save(page, FOLDER / "monitoring-report.png")
        with loop.service() as port:
            page.get(f"http://127.0.0.1:{port}/")
            predict(page)
            save(page, FOLDER / "service-page.png")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("chromium or chromedriver isn't installed: Debian has both as packages")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        words = ("headless=new", "no-sandbox", "hide-scrollbars", f"user-data-dir={profile}")
        for word in (*words, f"window-size={WIDTH},{HEIGHT}"):
            options.add_argument(f"--{word}")
        page = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield page
        finally:
            page.quit()


def predict(page: Any) -> None:
    """Send the example that the service's page offers, and wait for its prediction."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    page.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    response = page.find_element(By.ID, "answer")
    WebDriverWait(page, 20).until(lambda _: response.text.strip() != "")


def save(page: Any, path: Path) -> None:
    """Write what the window shows."""
    path.write_bytes(page.get_screenshot_as_png())
    size = path.stat().st_size
    print(f"{path.relative_to(loop.ROOT)}: {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"over {MOST_BYTES / 1000:.0f} kB: make the window smaller")


if __name__ == "__main__":
    main()
