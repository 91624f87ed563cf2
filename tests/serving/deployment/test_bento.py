"""The Bento: built once, and run by BentoML and by its image with the same responses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bento_projects import BIN, MLOPS, BentoProject, build_bento, clean_environment, mlops
from model_services import RunningService, ServedModel, fit_model, run_service

from mlops_cli.cli.app import main
from mlops_cli.errors import BadParams, NotInstalled
from mlops_cli.models.families import FAMILIES
from mlops_cli.serving.deployment.build_context import DOCKERFILE, local_modules, write_dockerfile
from mlops_cli.serving.deployment.requirements import exact, serving

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module")
def packed(binary: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> BentoProject:
    """The Bento of the binary model."""
    return build_bento(binary, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the Bento is started."""
    return {way: tmp_path_factory.mktemp(way) for way in ("bentoml", "image")}


@pytest.fixture(scope="module")
def services(packed: BentoProject, places: dict[str, Path]) -> Iterator[dict[str, RunningService]]:
    """The same version by `mlops serve`, by `bentoml serve` and by the image's start command."""
    with ExitStack() as stack:
        served = run_service(
            clean_environment(), MLOPS, "serve", "--workspace", folder=packed.project
        )
        bentoml = run_service(
            clean_environment(BENTOML_HOME=str(packed.store_folder)),
            *(str(BIN / "bentoml"), "serve", packed.tag),
            folder=places["bentoml"],
        )
        environment, command = packed.start_command(places["image"])
        image = run_service(environment, *command, folder=places["image"])
        yield {
            "mlops": stack.enter_context(served),
            "bentoml": stack.enter_context(bentoml),
            "image": stack.enter_context(image),
        }


def answers(service: RunningService, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = service.predict(rows, "/predict?explain=true")
    return [{k: v for k, v in one.items() if k != "id"} for one in found]


# What is built.


def test_bentoml_lists_it_and_knows_what_it_is_of(
    packed: BentoProject, binary: ServedModel
) -> None:
    def bentoml(*words: str) -> Any:
        done = subprocess.run(
            [str(BIN / "bentoml"), *words, "-o", "json"],
            env=clean_environment(BENTOML_HOME=str(packed.store_folder)),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    assert [bento["tag"] for bento in bentoml("list")] == [packed.tag]
    labels = bentoml("get", packed.tag)["labels"]
    manifest = json.loads((binary.folder / "manifest.json").read_text())
    assert labels["bundle_sha256"] == manifest["bundle_sha256"]
    assert (labels["version"], labels["commit"]) == ("workspace", "none")
    assert "data_window" in labels
    assert f"{packed.tag} is built" in packed.output


def test_the_engine_is_asked_for_the_image_by_its_name(packed: BentoProject) -> None:
    assert f"--tag example.org:5000/a/shop:{packed.bento.name}" in packed.engine_arguments
    dockerfile = (packed.context / "env/docker/Dockerfile").read_text()
    assert "USER bentoml" in dockerfile
    assert (packed.context / "models" / packed.tag.replace(":", "/") / "bundle").is_dir()


def test_nothing_of_the_tool_is_in_it_that_no_service_needs(packed: BentoProject) -> None:
    package = packed.bento / "src" / "mlops_cli"
    assert {p.name for p in package.iterdir()}.isdisjoint({"cli", "training", "__pycache__"})
    assert {p.parent.name for p in package.rglob("templates")} == {"service"}


ALONE = """
import asyncio, importlib.metadata, json, re, sys
from packaging.utils import canonicalize_name
places = importlib.metadata.packages_distributions()
allowed = set(json.loads(sys.argv[1])) | {"mlops-cli"}
class Refusing:
    def find_spec(name, path=None, target=None):
        owners = {canonicalize_name(d) for d in places.get(name, ())}
        if owners and not owners & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refusing)
from mlops_cli.serving.service.app import create_app
from mlops_cli.serving.service import run
from mlops_cli.serving.scorer import RequestScorer
service = create_app()
served = service.versions.main
scored = served.scorer.score(served.scorer.read([served.example]).frame)
print(scored.output.tolist())
import psycopg, uvloop
from mlops_cli.serving.http_server import server
"""


# Of the families that need the same packages, one.
@pytest.mark.parametrize("family", sorted({tuple(serving([f])): f for f in FAMILIES}.values()))
def test_a_service_needs_no_other_package_than_its_requirements(
    family: str, tmp_path: Path
) -> None:
    made = fit_model(tmp_path, "binary", family, rounds=2)
    named = [requirement.partition("==")[0] for requirement in serving([family])]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(named)],
        env=made.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == made.expected[-1].tolist()


def test_requirements_are_exact_and_what_is_missing_is_named() -> None:
    assert all("==" in requirement for requirement in exact(["uvicorn"]))
    assert "click" in {requirement.partition("==")[0] for requirement in exact(["uvicorn"])}
    with pytest.raises(NotInstalled, match="no-such-package"):
        exact(["no-such-package"])


def test_a_hooks_own_modules_come_along(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text(
        "import json\nfrom parts import one\nfrom parts.two import x"
    )
    (tmp_path / "parts").mkdir()
    for name in ("__init__", "one", "two", "unused"):
        (tmp_path / "parts" / f"{name}.py").write_text("from . import one" if name == "two" else "")
    found = [p.relative_to(tmp_path).as_posix() for p in local_modules("hooks:make", tmp_path)]
    assert found == ["hooks.py", "parts/__init__.py", "parts/one.py", "parts/two.py"]
    with pytest.raises(BadParams, match="there is no module"):
        local_modules("nowhere:make", tmp_path)


# What it answers.


@pytest.mark.parametrize("value", ["{% endraw %}{{ 7 * 7 }}", "{%- endraw %}", "<%= x %>{# y #}"])
def test_a_setting_is_no_template_of_the_dockerfile(tmp_path: Path, value: str) -> None:
    from jinja2 import DictLoader, Environment

    write_dockerfile(tmp_path, {"MLOPS_SERVE": value})
    base = {"base": "{% block SETUP_BENTO_ENTRYPOINT %}{% endblock %}"}
    bentoml = Environment(trim_blocks=True, lstrip_blocks=True, loader=DictLoader(base))  # noqa: S701
    template = bentoml.from_string((tmp_path / DOCKERFILE).read_text())
    lines = template.render(bento_base_template="base", bento__path="/b", bento__home="/h/")
    assert f'ENV MLOPS_SERVE="{value}"' in lines.splitlines()


@pytest.mark.parametrize("way", ["bentoml", "image"])
def test_its_answers_are_those_of_mlops_serve_to_the_last_bit(
    services: dict[str, RunningService], binary: ServedModel, way: str
) -> None:
    rows = binary.rows[-60:]
    mine = answers(services[way], rows)
    assert mine == answers(services["mlops"], rows)
    probabilities = [one["probabilities"]["true"] for one in mine]
    assert probabilities == binary.expected[-60:, 1].tolist()


@pytest.mark.parametrize("way", ["bentoml", "image"])
def test_its_api_is_that_of_mlops_serve(services: dict[str, RunningService], way: str) -> None:
    for path in ("/docs.json", "/model", "/", "/nowhere"):
        mine, theirs = services[way].request("GET", path), services["mlops"].request("GET", path)
        assert mine[:2] == theirs[:2], path
    for path in ("/livez", "/readyz", "/healthz", "/metrics"):
        assert services[way].request("GET", path)[0] == 200
    status, content, _ = services[way].request("POST", "/predict", {"rows": [{"width": "wide"}]})
    assert (status, content["status"]) == (422, 422)


@pytest.mark.parametrize("way", ["bentoml", "image"])
def test_it_keeps_predictions_and_takes_labels(
    services: dict[str, RunningService], binary: ServedModel, way: str
) -> None:
    (one,) = services[way].predict([binary.rows[-1]])
    label = {"labels": [{"id": one["id"], "label": True}]}
    assert services[way].request("POST", "/feedback", label)[1] == {"results": ["new"]}


def test_it_writes_where_it_was_started_and_nothing_into_the_bento(
    services: dict[str, RunningService],
    packed: BentoProject,
    places: dict[str, Path],
    binary: ServedModel,
) -> None:
    for way, place in places.items():
        services[way].predict([binary.rows[-1]])
        assert (place / ".mlops" / "events.sqlite").is_file()
    for source in (packed.bento / "src", packed.context / "src"):
        assert not (source / ".mlops").exists()


@pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="no chromium with its driver is installed")
@pytest.mark.parametrize("way", ["bentoml", "image"])
def test_its_page_gives_a_prediction_in_a_browser(
    services: dict[str, RunningService], way: str, tmp_path: Path
) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for word in ("headless=new", "no-sandbox", "disable-gpu", f"user-data-dir={tmp_path}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.get(f"http://127.0.0.1:{services[way].port}/")
        browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        answer = browser.find_element(By.ID, "answer")
        WebDriverWait(browser, 20).until(lambda _: "version workspace" in answer.text)
        assert "probability" in answer.text
        width = browser.find_element(By.NAME, "width")
        width.clear()
        width.send_keys("1e999")
        browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        WebDriverWait(browser, 20).until(lambda _: answer.text.strip() != "")
        assert [e["message"] for e in browser.get_log("browser") if "script" in e["source"]] == []
    finally:
        browser.quit()


# What goes wrong.


def test_without_an_engine_the_bento_is_made_and_it_is_said(packed: BentoProject) -> None:
    tools = packed.context.with_name("none")
    tools.mkdir()
    done = mlops(packed.project, "serve", "containerize", "-v", "workspace", PATH=str(tools))
    assert done.returncode == NotInstalled.exit_code
    assert "no container engine answers (none of them is installed)" in done.stderr
    assert f"{packed.tag} exists already" in done.stdout


def test_an_engine_that_does_not_answer_is_quoted(packed: BentoProject, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'no daemon here' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    done = mlops(packed.project, "serve", "containerize", "-v", "workspace", PATH=str(tmp_path))
    assert done.returncode == NotInstalled.exit_code
    assert "docker says: no daemon here" in done.stderr


def test_a_store_that_cannot_be_written_is_said(packed: BentoProject, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(packed.project, project, ignore=shutil.ignore_patterns(".mlops"))
    (project / ".mlops").mkdir()
    (project / ".mlops" / "bentoml").write_text("")
    done = mlops(project, "serve", "build", "-v", "workspace")
    assert done.returncode == 1
    assert f"the Bento can't be built in {project}/.mlops/bentoml: File exists" in done.stderr


def test_options_of_serving_are_refused_before_a_subcommand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["serve", "--follow", "--port", "80", "build"]) == 2
    said = capsys.readouterr().err
    assert "--port, --follow before 'build' would do nothing" in said
    assert "mlops serve build --help" in said


# The last one, since it builds the Bento anew.


def test_after_a_kill_and_by_two_at_once_it_is_built_once(packed: BentoProject) -> None:
    words = [MLOPS, "serve", "build", "-v", "workspace"]
    before = (packed.bento / "env/python/requirements.txt").read_bytes()
    shutil.rmtree(packed.bento)
    model = packed.store_folder / "models" / "team-shop"
    shutil.rmtree(model)
    killed = subprocess.Popen(
        words, cwd=packed.project, env=clean_environment(), stdout=subprocess.DEVNULL
    )
    while not model.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    both = [
        subprocess.Popen(
            words, cwd=packed.project, env=clean_environment(), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert (packed.bento / "env/python/requirements.txt").read_bytes() == before
    assert any("exists already; a new build would be the same" in text for text in said)
