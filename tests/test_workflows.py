"""CI workflows are valid and safe, and a shell runs their steps as intended."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from ruamel.yaml import YAML

from mlops_cli.cli.app import main
from mlops_cli.layout import Layout
from mlops_cli.retraining.schedules import schedule
from mlops_cli.scaffold.ci import texts

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
GITHUB = {Path(path).name: text for path, text in texts("github").items()}
GITLAB = texts("gitlab")[".gitlab-ci.yml"]
OWN = {path.name: path.read_text() for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}

WATCH = schedule("github", Layout(ROOT), "6h")
ALL_GITHUB = {
    **{f"own/{name}": text for name, text in OWN.items()},
    **{f"written/{name}": text for name, text in GITHUB.items()},
    "written/watch.yml": WATCH,
}
WRITTEN = {**GITHUB, "watch.yml": WATCH, ".gitlab-ci.yml": GITLAB}

TOKEN = "a-token-of-the-project"  # noqa: S105 - opens nothing


def parsed(text: str) -> Any:
    return YAML(typ="safe").load(text)


def steps(text: str) -> list[dict[str, Any]]:
    (job,) = parsed(text)["jobs"].values()
    return list(job["steps"])


def after_install(text: str) -> list[dict[str, Any]]:
    """The steps that do the work, without those that set the machine up."""
    found = steps(text)
    names = [step.get("name") for step in found]
    return found[names.index("Install") + 1 :]


# What they say.


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_they_are_valid_by_the_providers_schema(kind: str, tmp_path: Path) -> None:
    schema = {
        "github": ["vendor.github-workflows"],
        "gitlab": ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
    }[kind]
    files = [*(ROOT / ".github/workflows").glob("*.yml")] if kind == "github" else []
    written = texts(kind) | ({"watch.yml": WATCH} if kind == "github" else {})
    for path, text in written.items():
        files.append(tmp_path / Path(path).name.lstrip("."))
        files[-1].write_text(text)
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", *schema, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", sorted({*GITHUB, *OWN}))
def test_what_others_wrote_never_enters_a_script_as_text(name: str) -> None:
    for text in filter(None, (GITHUB.get(name), OWN.get(name))):
        for job in parsed(text)["jobs"].values():
            for step in job["steps"]:
                assert "${{" not in step.get("run", ""), "hand it over by env"


@pytest.mark.parametrize("name", sorted(GITHUB))
def test_they_ask_for_little_and_pin_what_they_use(name: str) -> None:
    tree = parsed(GITHUB[name])
    writing = {"contents", "pull-requests"} if name == "retrain.yml" else set()
    assert {k for k, v in tree["permissions"].items() if v == "write"} == writing
    assert "concurrency" in tree
    for job in tree["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            secret = re.search(r"secrets\.|github\.token", json.dumps(step))
            assert not secret or "run" in step, "a secret is seen by the step that needs it"


@pytest.mark.parametrize("text", [*ALL_GITHUB.values()], ids=[*ALL_GITHUB])
def test_actions_are_pinned_by_commit_and_leave_no_token(text: str) -> None:
    uses = re.findall(r"(?m)^\s*(?:- )?uses: (.+)$", text)
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[\w-]+(/[\w-]+)?@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    # One action, one commit, in all files.
    everywhere = re.findall(r"uses: (\S+)@(\S+)", "\n".join(ALL_GITHUB.values()))
    assert len(dict(everywhere)) == len(set(everywhere))
    for job in parsed(text)["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_nothing_is_installed_but_by_hash_and_before_any_secret(name: str) -> None:
    text = WRITTEN[name]
    installs = [line.strip(" -") for line in text.splitlines() if re.search(r"\bpip\b", line)]
    assert set(installs) == {"pip install --require-hashes -r requirements.lock"}
    assert not re.search(r"mlops[-_]cli\[|mlops[-_]cli[=~<>]=|MLOPS_CLI|requirements\.txt", text)
    if name != ".gitlab-ci.yml":
        found = steps(text)
        before = found[: [step.get("name") for step in found].index("Install") + 1]
        assert "secrets." not in json.dumps([parsed(text).get("env"), before])
        assert "github.token" not in json.dumps(before)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_without_a_lock_the_installation_ends_with_a_sentence(name: str, tmp_path: Path) -> None:
    text = WRITTEN[name]
    if name == ".gitlab-ci.yml":
        script = "\n".join(parsed(text)["default"]["before_script"])
    else:
        (script,) = [step["run"] for step in steps(text) if step.get("name") == "Install"]
    # Who would be asked for a package, were one asked for: nobody is there.
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pip").write_text('#!/bin/sh\necho "$@" >> "$TOLD"\n')
    (tools / "pip").chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "TOLD": str(tmp_path / "told")}
    # What older files were told by.
    environment["MLOPS_CLI"] = "mlops-cli[serve]==0.1.0"
    (tmp_path / "requirements.txt").write_text("mlops-cli==0.1.0\n")
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    done = run()
    assert done.returncode == 3
    assert "requirements.lock is missing: it says what is installed, with hashes" in done.stdout
    assert not (tmp_path / "told").exists()
    (tmp_path / "requirements.lock").write_text("")
    assert run().returncode == 0
    told = (tmp_path / "told").read_text()
    assert told == "install --require-hashes -r requirements.lock\n"


def test_gitlab_gives_each_job_the_secrets_of_its_own_environment() -> None:
    tree = parsed(GITLAB)
    jobs = {k: v for k, v in tree.items() if isinstance(v, dict) and "script" in v}
    scopes = {name: job["environment"]["name"] for name, job in jobs.items()}
    assert len(set(scopes.values())) == len(jobs)
    for name, job in jobs.items():
        assert job["environment"]["action"] == "access", "none of them is a deployment"
        tokens = set(re.findall(r"MLOPS_\w*TOKEN", "\n".join(job["script"])))
        assert tokens == {"note": {"MLOPS_NOTE_TOKEN"}, "retrain": {"MLOPS_TOKEN"}}.get(name, set())


def test_the_note_is_put_by_a_job_that_has_no_code_of_the_project() -> None:
    job = parsed(GITLAB)["note"]
    assert job["variables"]["GIT_STRATEGY"] == "none"
    assert job["inherit"]["default"] == ["image"], "without what installs"
    script = "\n".join(job["script"])
    assert not re.search(r"(?m)^\s*(mlops|dvc|python|pip|git|source|bash|sh)\b", script)
    (rule,) = job["rules"]
    assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID" in rule["if"]


@pytest.mark.parametrize("job", ["retrain", "delivery"])
def test_gitlab_gives_nothing_that_writes_to_unprotected_code(job: str, tmp_path: Path) -> None:
    script = parsed(GITLAB)[job]["script"]
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(script)]
    environment = {
        "PATH": "/nowhere",
        "CI_COMMIT_REF_NAME": "mine",
        "CI_COMMIT_TAG": "a#production#1",
    }
    for protected in ({}, {"CI_COMMIT_REF_PROTECTED": "false"}):
        done = subprocess.run(
            ["/bin/bash", *shell[1:]],
            cwd=tmp_path, env=environment | protected, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert "isn't a protected" in done.stdout


@pytest.mark.parametrize("name", sorted(GITHUB))
def test_this_repository_runs_the_steps_of_the_template(name: str) -> None:
    assert after_install(OWN[name]) == after_install(GITHUB[name])
    heads = [parsed(text) for text in (OWN[name], GITHUB[name])]
    for head in heads:
        del head["jobs"]
    assert heads[0] == heads[1]


def test_production_tags_start_a_delivery_whatever_the_models_name() -> None:
    (pattern,) = parsed(GITHUB["delivery.yml"])["on"]["push"]["tags"]
    assert pattern == "**#production#*", "one star would stop at the slash of team/model"
    rule = re.search(r"\$CI_COMMIT_TAG =~ /(.+)/", GITLAB)
    assert rule is not None
    for tag, starts in {"a/b#production#12": True, "a#production!#3": False, "a@v1": False}.items():
        assert (re.search(rule[1], tag) is not None) is starts


def test_every_mlops_command_in_them_exists() -> None:
    import typer

    from mlops_cli.cli.app import app

    command = typer.main.get_command(app)
    text = "\n".join([*GITHUB.values(), *OWN.values(), GITLAB])
    called = set(re.findall(r"(?m)^\s*(?:- |run: )?mlops ([a-z]+)(?: ([a-z]+))?", text))
    assert {("ingest", ""), ("clock", "")} <= called
    for first, second in called:
        found = command.commands.get(first)  # type: ignore[attr-defined]
        assert found is not None, first
        if inner := getattr(found, "commands", {}):
            assert second in inner


# Writing them.


def test_they_are_written_once_and_never_over_other_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["ci", "github", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert {Path(path).name for path in written} == GITHUB.keys()
    assert main(["ci", "github"]) == 0, "the same once more changes nothing"
    assert "First: write requirements.lock" in capsys.readouterr().out
    (tmp_path / "requirements.lock").write_text("")
    assert main(["ci", "github"]) == 0
    assert "First" not in capsys.readouterr().out
    mine = tmp_path / ".github/workflows/retrain.yml"
    mine.write_text("mine\n")
    assert main(["ci", "github"]) == 2
    assert "retrain.yml" in capsys.readouterr().err
    assert mine.read_text() == "mine\n"
    assert main(["ci", "github", "--force"]) == 0
    assert mine.read_text() == GITHUB["retrain.yml"]


def test_in_a_folder_of_a_repository_they_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "params.yaml").write_text("")
    monkeypatch.chdir(inner)
    assert main(["ci", "gitlab"]) == 2
    assert "lies in the Git repository" in capsys.readouterr().err
    assert sorted(p.name for p in inner.iterdir()) == ["params.yaml"]


# Running them.


def sh(folder: Path, *words: str) -> str:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Hosted:
    """A project whose Git remote is a bare repository, and whose DVC remote is a folder."""

    remote: Path
    folder: Path

    def clone(self, name: str, *branch: str) -> Path:
        """Make a clone with somebody's name in it."""
        target = self.folder / name
        sh(self.folder, "git", "clone", "-q", *branch, str(self.remote), str(target))
        for key, value in {"name": "dev", "email": "dev@example.org"}.items():
            sh(target, "git", "config", f"user.{key}", value)
        return target

    def branches(self) -> list[str]:
        """What the bare repository has."""
        return sh(self.remote, "git", "branch", "--format=%(refname:short)").splitlines()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Hosted:
    """A committed run, its clock at November, and a registered version in production."""
    folder = tmp_path_factory.mktemp("hosted")
    rng = random.Random(7)  # noqa: S311 - data, not secrets
    lines = ["day,colour,size,late"]
    for i in range(1400):
        day = dt.date(2020, 1, 1) + dt.timedelta(days=i // 4)
        colour, size = rng.choice(["red", "green", "blue"]), rng.gauss(0, 1)
        odd = (colour == "red") != (size > 0)  # what a linear model doesn't see
        late = int(rng.random() < (0.9 if odd else 0.1))
        lines.append(f"{day},{colour},{size:.4f},{late}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    project = folder / "project"
    init = ["init", str(project), "--data", "rows.csv", "--target", "late", "--time", "day"]
    sh(folder, "mlops", *init, "--ci", "github")
    sh(project, "mlops", "ci", "gitlab")
    settings = project / "params.yaml"
    text = settings.read_text().replace("trials: 20", "trials: 3")
    # One model: what is tried here doesn't depend on how good it is.
    text = text.replace("train:\n", "train:\n  ensemble: false\n", 1)
    settings.write_text(re.sub(r"families: \[.*\]", "families: [lightgbm]", text))
    sh(project, "mlops", "clock", "2020-11-01")
    sh(project, "git", "config", "user.name", "dev")
    sh(project, "git", "config", "user.email", "dev@example.org")
    sh(folder, "git", "init", "-q", "--bare", "-b", "main", "remote.git")
    sh(project, "dvc", "remote", "add", "-d", "store", str(folder / "store"))
    sh(project, "git", "add", "-A")
    sh(project, "git", "commit", "-qm", "The project")
    sh(project, "git", "remote", "add", "origin", str(folder / "remote.git"))
    sh(project, "git", "push", "-q", "-u", "origin", "main")
    sh(project, "mlops", "register", "-m", "first")
    sh(project, "mlops", "promote", "v0.1.0", "--to", "production", "-m", "go")
    sh(project, "dvc", "push")
    return Hosted(folder / "remote.git", folder)


@pytest.fixture
def hosted(start: Hosted, tmp_path: Path) -> Hosted:
    """A remote of its own for each test."""
    shutil.copytree(start.remote, tmp_path / "remote.git")
    return Hosted(tmp_path / "remote.git", tmp_path)


def run_github(
    name: str, clone: Path, expressions: Mapping[str, str], **given: str
) -> subprocess.CompletedProcess[str]:
    """Run the work of a workflow as GitHub does: each step in a shell of its own."""
    text = (clone / ".github/workflows" / name).read_text()
    (job,) = parsed(text)["jobs"].values()
    temporary = clone.parent / "runner"
    temporary.mkdir()
    summary = temporary / "summary.md"
    summary.touch()
    environment = {
        **os.environ,
        "RUNNER_TEMP": str(temporary),
        "GITHUB_STEP_SUMMARY": str(summary),
        **given,
    }

    def value(expression: str) -> str:
        # An expression that the test doesn't know is an error.
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda m: expressions[m[1]], str(expression))

    said = ""
    for step in [s for s in after_install(text) if "run" in s]:
        own = {**job.get("env", {}), **step.get("env", {})}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=clone,
            env=environment | {key: value(text) for key, text in own.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        said += f"== {step['name']}\n{done.stdout}"
        if done.returncode:
            break
    return subprocess.CompletedProcess([], done.returncode, said, summary.read_text())


SECRETS = {
    "secrets.AWS_ACCESS_KEY_ID": "",
    "secrets.AWS_SECRET_ACCESS_KEY": "",
    "github.event.repository.default_branch": "main",
    "vars.MLOPS_ALLOWED_SIGNERS": "",
    "vars.MLOPS_IMAGE": "",
    "vars.MLOPS_REGISTRY_USER": "",
    "secrets.MLOPS_REGISTRY_TOKEN": "",
    "secrets.MLOPS_KUBECONFIG": "",
}


def changed(hosted: Hosted, *, run: bool) -> Path:
    """A branch with another number of trials, with or without the run that belongs to it."""
    clone = hosted.clone("dev")
    sh(clone, "git", "switch", "-qc", "change")
    settings = clone / "params.yaml"
    settings.write_text(settings.read_text().replace("trials: 3", "trials: 4"))
    if run:
        sh(clone, "dvc", "pull")
        sh(clone, "mlops", "run")
        sh(clone, "dvc", "push")
    sh(clone, "git", "commit", "-qam", "More trials")
    sh(clone, "git", "push", "-q", "origin", "change")
    return hosted.clone("checkout", "-b", "change")


@pytest.mark.slow
def test_a_pull_request_gets_the_difference_and_passes(hosted: Hosted) -> None:
    clone = changed(hosted, run=True)
    done = run_github("pipeline.yml", clone, {**SECRETS, "github.base_ref": "main"})
    assert done.returncode == 0, done.stdout
    assert "| metric | origin/main" in done.stderr
    assert "| roc\\_auc |" in done.stderr
    assert "tune.trials" in done.stderr
    assert sh(clone, "git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_pull_request_without_its_run_gets_the_difference_and_fails(hosted: Hosted) -> None:
    clone = changed(hosted, run=False)
    done = run_github("pipeline.yml", clone, {**SECRETS, "github.base_ref": "main"})
    assert done.returncode == 1
    assert "::error file=dvc.lock" in done.stdout
    assert "| roc\\_auc |" in done.stderr


def retrain(hosted: Hosted, mode: str, until: str) -> subprocess.CompletedProcess[str]:
    """Run retrain.yml; what it asks of GitHub's own command is kept in a file."""
    tools = hosted.folder / "tools"
    tools.mkdir()
    (tools / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/gh.txt"\n')
    (tools / "gh").chmod(0o755)
    expressions = {
        **SECRETS,
        "inputs.until || vars.MLOPS_RETRAIN_UNTIL": until,
        "vars.MLOPS_RETRAIN_MODE || 'pull-request'": mode,
        "github.ref_name": "main",
        "github.run_id": "17",
        "github.run_attempt": "1",
        "github.token": "none",
    }
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "GITHUB_WORKFLOW": "retrain", "GITHUB_RUN_ID": "17"}
    return run_github("retrain.yml", hosted.clone("checkout"), expressions, **given)


@pytest.mark.slow
def test_retraining_pushes_a_branch_with_the_new_version_and_asks_for_a_review(
    hosted: Hosted,
) -> None:
    before = sh(hosted.remote, "git", "rev-parse", "main")
    done = retrain(hosted, "pull-request", "+1mo")
    assert done.returncode == 0, done.stdout
    assert sorted(hosted.branches()) == ["main", "retrain/17-1"]
    assert sh(hosted.remote, "git", "rev-parse", "main") == before
    settings = sh(hosted.remote, "git", "show", "retrain/17-1:params.yaml")
    assert 'until: "2020-12-01"' in settings
    assert "project@v0.2.0" in sh(hosted.remote, "git", "tag", "--points-at", "retrain/17-1")
    assert "data clock" in done.stderr
    asked = (hosted.folder / "runner" / "gh.txt").read_text().splitlines()
    assert asked[:6] == ["pr", "create", "--base", "main", "--head", "retrain/17-1"]


@pytest.mark.slow
def test_retraining_can_go_straight_to_the_branch(hosted: Hosted) -> None:
    done = retrain(hosted, "push", "2020-12-01")
    assert done.returncode == 0, done.stdout
    assert hosted.branches() == ["main"]
    assert "2020-12-01" in sh(hosted.remote, "git", "show", "main:params.yaml")
    assert "project@v0.2.0" in sh(hosted.remote, "git", "tag", "--points-at", "main")


@pytest.mark.slow
def test_retraining_without_anything_new_changes_nothing(hosted: Hosted) -> None:
    before = sh(hosted.remote, "git", "for-each-ref")
    done = retrain(hosted, "pull-request", "")
    assert done.returncode == 0, done.stdout
    assert "nothing to review" in done.stdout
    assert sh(hosted.remote, "git", "for-each-ref") == before


@pytest.mark.slow
def test_a_mode_that_is_none_is_said(hosted: Hosted) -> None:
    done = retrain(hosted, "mail", "")
    assert done.returncode == 2
    assert "MLOPS_RETRAIN_MODE is 'mail'" in done.stdout


@pytest.mark.slow
def test_a_version_in_production_is_fetched_and_proved(hosted: Hosted) -> None:
    clone = hosted.clone("checkout")
    tag = "project#production#1"
    sh(clone, "git", "checkout", "-q", tag)
    sha = sh(clone, "git", "rev-parse", "HEAD")
    given = {"GITHUB_REF_NAME": tag, "GITHUB_SHA": sha}
    done = run_github("delivery.yml", clone, SECRETS, **given)
    assert done.returncode == 0, done.stdout
    assert done.stderr == f"{tag} is project@v0.1.0\n"
    runner = clone.parent / "runner"
    assert (runner / "model" / "manifest.json").is_file()
    assert (runner / "service.bento").is_file()
    labels = parsed((clone / ".mlops/bentoml/bentos/project/v0.1.0/bento.yaml").read_text())[
        "labels"
    ]
    assert (labels["version"], labels["commit"]) == ("v0.1.0", sha)
    assert labels["data_window"].startswith("2020-01-01T")


class Api(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    posted: list[tuple[str, str | None, dict[str, list[str]]]]

    def do_POST(self) -> None:
        """Keep path, token and fields."""
        length = int(self.headers["Content-Length"])
        body = parse_qs(self.rfile.read(length).decode())
        self.posted.append((self.path, self.headers["PRIVATE-TOKEN"], body))
        self.send_response(201)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[tuple[str, list[Any]]]:
    """An HTTP server in GitLab's place, and what it was told."""
    posted: list[Any] = []
    handler = type("Kept", (Api,), {"posted": posted})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/v4", posted
    server.shutdown()
    server.server_close()


def run_gitlab(job: str, clone: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """Run a job's script as GitLab does: all lines in one shell."""
    tree = parsed((clone / ".gitlab-ci.yml").read_text())
    defaults = {k: v for k, v in tree["variables"].items() if isinstance(v, str)}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(tree[job]["script"])],
        cwd=clone,
        env={
            **os.environ,
            "CI_SERVER_HOST": "gitlab.example.org",
            "CI_PIPELINE_ID": "17",
            "CI_PROJECT_ID": "5",
            "CI_COMMIT_REF_PROTECTED": "true",
            "CI_DEFAULT_BRANCH": "main",
            **defaults,
            **given,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


MERGE_REQUEST = {
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    "CI_MERGE_REQUEST_PROJECT_ID": "5",
    "CI_MERGE_REQUEST_IID": "3",
}


@pytest.mark.slow
def test_a_merge_request_gets_the_difference_as_a_note(
    hosted: Hosted, api: tuple[str, list[Any]]
) -> None:
    clone = changed(hosted, run=True)
    done = run_gitlab("pipeline", clone, CI_API_V4_URL=api[0], **MERGE_REQUEST)
    assert done.returncode == 0, done.stdout
    assert api[1] == [], "the job that runs the project's code puts no note"
    done = run_gitlab("note", clone, CI_API_V4_URL=api[0], MLOPS_NOTE_TOKEN=TOKEN, **MERGE_REQUEST)
    assert done.returncode == 0, done.stdout
    ((path, token, body),) = api[1]
    assert path == "/api/v4/projects/5/merge_requests/3/notes"
    assert token == TOKEN
    assert body["body"] == [(clone / ".mlops/comparison.md").read_text()]
    assert "| roc\\_auc |" in body["body"][0]
    assert TOKEN not in done.stdout


def note(
    folder: Path, api: tuple[str, list[Any]], **given: str
) -> subprocess.CompletedProcess[str]:
    """Run the job `note` in a folder that only has what another job has left."""
    (folder / ".gitlab-ci.yml").write_text(GITLAB)
    return run_gitlab("note", folder, CI_API_V4_URL=api[0], **MERGE_REQUEST, **given)


@pytest.mark.parametrize("target", ["/proc/self/environ", "../secret"])
@pytest.mark.parametrize("link", [".mlops/comparison.md", ".mlops"])
def test_a_note_never_holds_a_file_that_a_link_points_at(
    tmp_path: Path, api: tuple[str, list[Any]], link: str, target: str
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/comparison.md").write_text("a secret")
    (folder / link).parent.mkdir(exist_ok=True)
    goal = {".mlops": tmp_path / "secret"}.get(link, Path(target))
    (folder / link).symlink_to(goal)
    done = note(folder, api, MLOPS_NOTE_TOKEN=TOKEN)
    assert done.returncode == 1
    assert "there is no file .mlops/comparison.md" in done.stdout
    assert api[1] == []


def test_a_note_gives_no_command_and_needs_its_token(
    tmp_path: Path, api: tuple[str, list[Any]]
) -> None:
    (tmp_path / ".mlops").mkdir()
    (tmp_path / ".mlops/comparison.md").write_text("# Title\n/merge\n  /approve\na/b\n")
    done = note(tmp_path, api)
    assert (done.returncode, api[1]) == (0, [])
    assert "MLOPS_NOTE_TOKEN isn't set" in done.stdout
    assert note(tmp_path, api, MLOPS_NOTE_TOKEN=TOKEN).returncode == 0
    ((_, _, body),) = api[1]
    assert body["body"] == ["# Title\n\\/merge\n\\  /approve\na/b\n"]


@pytest.mark.slow
def test_gitlab_retrains_on_a_detached_checkout_and_opens_a_merge_request(
    hosted: Hosted, api: tuple[str, list[Any]]
) -> None:
    clone = hosted.clone("checkout")
    sha = sh(clone, "git", "rev-parse", "HEAD")
    sh(clone, "git", "switch", "-q", "--detach")
    done = run_gitlab(
        "retrain",
        clone,
        UNTIL="+1mo",
        CI_COMMIT_BRANCH="main",
        CI_COMMIT_SHA=sha,
        CI_PROJECT_URL=str(hosted.remote).removesuffix(".git"),
        CI_API_V4_URL=api[0],
        MLOPS_TOKEN=TOKEN,
    )
    assert done.returncode == 0, done.stdout
    assert sorted(hosted.branches()) == ["main", "retrain/17"]
    assert "project@v0.2.0" in sh(hosted.remote, "git", "tag", "--points-at", "retrain/17")
    ((path, _, body),) = api[1]
    assert path == "/api/v4/projects/5/merge_requests"
    assert body["source_branch"] == ["retrain/17"]
    assert body["target_branch"] == ["main"]


@pytest.mark.slow
def test_gitlab_delivers_what_entered_production(hosted: Hosted) -> None:
    clone = hosted.clone("checkout")
    tag = "project#production#1"
    sh(clone, "git", "checkout", "-q", tag)
    sha = sh(clone, "git", "rev-parse", "HEAD")
    done = run_gitlab("delivery", clone, CI_COMMIT_TAG=tag, CI_COMMIT_SHA=sha)
    assert done.returncode == 0, done.stdout
    assert (clone / ".mlops/delivery/manifest.json").is_file()
    assert (clone / ".mlops/service.bento").is_file()
