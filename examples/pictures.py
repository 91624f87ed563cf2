"""Take screenshots of the monitoring report and of the service's page, after `make loop`.

    make loop
    python examples/pictures.py

The script needs the development packages (selenium) and Chromium with its driver on the path. The
pictures show the top of each page. They are PNG files of less than 150 kB in docs/images/.
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
    """Take both screenshots."""
    report = loop.CLONE / "reports" / "monitor.html"
    if not report.is_file():
        sys.exit(f"{report} isn't there: run `make loop` first")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with browser() as page:
        page.get(report.as_uri())
        save(page, FOLDER / "monitoring-report.png")
        with loop.run_service() as port:
            page.get(f"http://127.0.0.1:{port}/")
            predict(page)
            save(page, FOLDER / "service-page.png")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Start a headless Chromium."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        sys.exit("chromium or chromedriver isn't installed: Debian has both as packages")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory() as profile:
        command = ("headless=new", "no-sandbox", "hide-scrollbars", f"user-data-dir={profile}")
        for word in (*command, f"window-size={WIDTH},{HEIGHT}"):
            options.add_argument(f"--{word}")
        page = webdriver.Chrome(options, webdriver.ChromeService(driver))
        try:
            yield page
        finally:
            page.quit()


def predict(page: Any) -> None:
    """Send the example of the service's page, and wait for the prediction."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    page.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    response = page.find_element(By.ID, "answer")
    WebDriverWait(page, 20).until(lambda _: response.text.strip() != "")


def save(page: Any, path: Path) -> None:
    """Save a screenshot of the window."""
    path.write_bytes(page.get_screenshot_as_png())
    size = path.stat().st_size
    print(f"{path.relative_to(loop.ROOT)}: {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"over {MOST_BYTES / 1000:.0f} kB: make the window smaller")


if __name__ == "__main__":
    main()
