"""The service's page in a browser: with a key, behind a prefix, with hostile names."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_services import ServedModel, fit_model, free_port, run_service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NGINX = shutil.which("nginx")
KEY = "a key of thirty-two bytes or more"
TEXTS = {
    "{{example}}": " autofocus onfocus=document.body.innerHTML=document.domain x=",
    "note": "</script><script>document.body.innerHTML=document.domain</script>",
    "'><img src=x onerror=alert(1)>": "'\"><b>",
}


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """A Chromium without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={folder}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield started
    finally:
        started.quit()


def answer_of(page: Any, url: str, key: str = "") -> str:
    """What the page shows after its example was sent."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    page.get(url)
    page.find_element(By.ID, "key").send_keys(key)
    page.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    answer = page.find_element(By.ID, "answer")
    WebDriverWait(page, 20).until(lambda _: answer.text.strip() != "")
    return str(answer.text)


@pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="no chromium with its driver is installed")
def test_columns_and_values_never_become_part_of_the_page(tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    made = fit_model(tmp_path / "made", "binary", texts=TEXTS)
    with (
        run_service(made.environment(MLOPS_API_KEYS=KEY)) as service,
        browser(tmp_path / "browser") as page,
    ):
        url = f"http://127.0.0.1:{service.port}/"
        assert "is missing" in answer_of(page, url)
        assert "version v0.1.0" in answer_of(page, url, KEY)
        fields = page.find_elements(By.CSS_SELECTOR, "input[name]")
        shown = {field.get_attribute("name"): field.get_attribute("value") for field in fields}
        assert {name: shown[name] for name in TEXTS} == TEXTS
        assert page.find_elements(By.CSS_SELECTOR, "img, output script, form script") == []
        page.execute_script(
            "const made = document.createElement('script');"
            "made.textContent = 'document.title = 1'; document.body.append(made);"
        )
        assert page.title == "shop v0.1.0", "no other script runs"


@pytest.mark.skipif(not NGINX, reason="no nginx is installed")
def test_behind_a_prefix_all_is_found(binary: ServedModel, tmp_path: Path) -> None:
    port, places = free_port(), ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {tmp_path}/{name};" for name in places)
    with run_service(binary.environment()) as service:
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/errors; events {{}}"
            f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};"
            f"location /model/ {{ proxy_pass http://127.0.0.1:{service.port}/; }} }} }}"
        )
        proxy = subprocess.Popen([str(NGINX), "-c", str(tmp_path / "nginx.conf")])
        try:
            there = type(service)(proxy, port)
            for _ in range(100):
                time.sleep(0.05)
                with contextlib.suppress(OSError):
                    document = there.request("GET", "/model/docs.json")
                    break
            assert document[:2] == service.request("GET", "/docs.json")[:2]
            assert there.predict(binary.rows[:1], "/model/predict")
            if CHROMIUM and DRIVER:
                with browser(tmp_path / "browser") as page:
                    text = answer_of(page, f"http://127.0.0.1:{port}/model/")
                    assert "version v0.1.0" in text
        finally:
            proxy.terminate()
            proxy.wait()
