"""`mlops verify` checks every claim of a version and names what was changed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import registry_projects as projects

from mlops_cli.cli.app import main
from mlops_cli.project.dvc_objects import Objects
from mlops_cli.registry.fetch_bundle import bundle_md5
from mlops_cli.registry.git_tags import read
from mlops_cli.registry.verify import verify_version


def failed(project: Path) -> dict[str, str]:
    """Check -> what it says, of those that failed."""
    return {
        c.name: c.said
        for c in verify_version(project, projects.find_version(project))
        if not c.passed
    }


def said(project: Path, name: str) -> str:
    return next(
        c.said for c in verify_version(project, projects.find_version(project)) if c.name == name
    )


def again(project: Path) -> None:
    """Register HEAD anew after a change by hand."""
    projects.commit(project, "By hand")
    projects.tag_version(project, "v0.2.0")


def again_as(project: Path, number: str) -> None:
    """As ``again``, under another number."""
    projects.commit(project, "By hand")
    projects.tag_version(project, number)


def test_a_version_as_it_was_made_passes_and_nothing_is_touched(project: Path) -> None:
    before = (project / ".git" / "index").read_bytes()
    assert failed(project) == {}
    assert (project / ".git" / "index").read_bytes() == before
    assert [p.name for p in (project / ".mlops").iterdir()] == ["models"]


def test_work_of_today_does_not_count_against_it(project: Path) -> None:
    (project / "make_model.py").write_text("raise SystemExit\n")
    (project / "data" / "rows.csv").chmod(0o644)
    (project / "data" / "rows.csv").write_text("other\n")
    (project / "dvc.lock").unlink()
    assert failed(project) == {}


def test_one_byte_in_any_file_of_the_bundle_fails_and_names_it(project: Path) -> None:
    files = Objects(project).tree(
        bundle_md5(project, projects.find_version(project)), "models/model"
    )
    for name, md5 in files.items():
        projects.change_byte(projects.cache_path(project, md5))
        assert f"models/model/{name} was changed" in failed(project)["objects"]
        projects.change_byte(projects.cache_path(project, md5))


def test_data_that_was_changed_or_is_nowhere_fails_and_is_named(project: Path) -> None:
    md5 = (project / "data" / "rows.csv.dvc").read_text().partition("md5: ")[2][:32]
    projects.change_byte(projects.cache_path(project, md5))
    assert "data/rows.csv was changed" in failed(project)["data"]
    projects.cache_path(project, md5).unlink()
    assert "data/rows.csv" in failed(project)["data"]
    (project / ".dvc" / "config").write_text("")
    assert "the project has no DVC remote" in failed(project)["data"]


def test_data_in_the_remote_only_is_fetched_and_said(project: Path) -> None:
    projects.push_all(project)
    shutil.rmtree(project / ".dvc" / "cache")
    assert "2 came just now from kept" in said(project, "data"), "the bundle came before"
    assert failed(project) == {}
    assert "just now" not in said(project, "data")


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (
            lambda p: (p / "make_model.py").write_text("#\n"),
            "code",
            "make_model.py",
        ),
        (
            lambda p: (p / "reports" / "metrics.json").write_text("{}"),
            "code",
            "reports/metrics.json",
        ),
        (
            lambda p: (p / "params.yaml").write_text(projects.PARAMS.replace("seed: 3", "seed: 4")),
            "pipeline",
            "another project.seed than stage train",
        ),
    ],
)
def test_a_commit_that_is_not_of_its_run_fails(
    project: Path, change: Callable[[Path], None], check: str, message: str
) -> None:
    change(project)
    again(project)
    found = failed(project)
    assert list(found) == [check]
    assert message in found[check]


def lines(project: Path, name: str, *changes: tuple[str, str]) -> None:
    """Change a file of the project."""
    text = (project / name).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (project / name).write_text(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("cmd: python make_model.py", "cmd: env > stolen")], "another command"),
        ([("cmd: python make_model.py", "cmd: [python make_model.py, env]")], "another command"),
        ([("deps: [make_model.py, data/rows.csv]", "deps: [make_model.py]")], "data/rows.csv"),
        ([("deps: [make_model.py,", "deps: [make_model.py, params.yaml,")], "params.yaml"),
        (
            [("      - data/copy.csv\n", "")],
            "other outputs in dvc.yaml than in dvc.lock: data/copy",
        ),
        ([("params: [project.seed]", "params: [project.seed, task.type]")], "task.type"),
        ([("params: [project.seed]", "params: [{other.yaml: [a]}]")], "other.yaml"),
        ([("stages:\n", "stages:\n  more: {cmd: env}\n")], "a stage more, which dvc.lock doesn't"),
        ([("  train:", "  learn:")], "a stage learn, which dvc.lock doesn't know"),
        (
            [("cmd: python make_model.py", "cmd: ${nosuch}")],
            "variables of dvc.yaml can't be filled",
        ),
        (
            [("stages:", "vars: [../outside.yaml]\nstages:"), ("python", "${a}")],
            "which is not below the project",
        ),
        (
            [("stages:", "vars: [/etc/passwd]\nstages:"), ("python", "${a}")],
            "which is not relative",
        ),
        ([("stages:", "wrong:")], "states no stages"),
    ],
)
def test_a_pipeline_that_is_not_the_one_that_ran_fails(
    project: Path, changes: list[tuple[str, str]], message: str
) -> None:
    lines(project, "dvc.yaml", *changes)
    again(project)
    found = failed(project)
    assert list(found) == ["pipeline"]
    assert message in found["pipeline"]


def test_a_pipeline_with_variables_is_compared_as_dvc_fills_them_in(project: Path) -> None:
    lines(project, "dvc.yaml", ("cmd: python make_model.py", "cmd: ${program} make_model.py"))
    lines(project, "dvc.yaml", ("stages:", "vars: [{program: python}]\nstages:"))
    again(project)
    assert failed(project) == {}
    lines(project, "dvc.yaml", ("{program: python}", "{program: env > stolen; python}"))
    again_as(project, "v0.3.0")
    assert "another command" in failed(project)["pipeline"]


def test_a_command_in_a_dvc_file_fails(project: Path) -> None:
    with (project / "data" / "rows.csv.dvc").open("a") as file:
        file.write("cmd: env > stolen\n")
    again(project)
    assert "data/rows.csv.dvc has a command of its own" in failed(project)["pipeline"]


def test_aliases_that_would_never_end_are_refused(project: Path) -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    levels += [
        f"{n}: &{n} [{', '.join([f'*{o}'] * 9)}]"
        for o, n in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with (project / "dvc.yaml").open("a") as file:
        file.write("\n".join(levels) + "\n")
    again(project)
    assert "'dvc.yaml' is missing at this commit, or not readable" in failed(project)["pipeline"]


def test_a_record_of_another_bundle_or_decision_fails(project: Path) -> None:
    place = project / "models" / "registration.json"
    record = json.loads(place.read_text())
    place.write_text(json.dumps(record | {"decision": "rejected"}))
    projects.commit(project, "By hand")
    projects.run(project, "git", "tag", "-a", "toy@v0.2.0", "-m", "x")
    found = failed(project)
    assert "'rejected'" in found["decision"]
    assert "doesn't state a bundle" in found["manifest"]


def test_a_lightweight_tag_fails(project: Path) -> None:
    projects.add_empty_commit(project)
    projects.run(project, "git", "tag", "toy@v0.2.0")
    assert "lightweight" in failed(project)["tag"]


def test_a_signature_is_told_good_from_unverifiable_and_foreign(project: Path) -> None:
    projects.run(project.parent, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key")
    public = (project.parent / "key.pub").read_text()
    for key, value in (("gpg.format", "ssh"), ("user.signingkey", str(project.parent / "key.pub"))):
        projects.run(project, "git", "config", key, value)
    sha256 = projects.find_version(project).bundle
    projects.add_empty_commit(project)
    projects.run(project, "git", "tag", "-s", "toy@v0.2.0", "-m", f"R\n\nBundle: {sha256}\n")
    assert failed(project) == {}
    assert "no key to verify it" in said(project, "tag")
    allowed = project.parent / "allowed"
    allowed.write_text(f"ann@example.org {public}")
    projects.run(project, "git", "config", "gpg.ssh.allowedSignersFile", str(allowed))
    assert "the signature is good" in said(project, "tag")
    projects.run(project.parent, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other")
    allowed.write_text(f"ann@example.org {(project.parent / 'other.pub').read_text()}")
    assert "is not good" in failed(project)["tag"]
    allowed.write_text(f"mallory@example.org {public}")
    assert "no valid key of ann@example.org" in failed(project)["tag"], "git itself is content"


def test_a_version_in_a_stage_is_there_by_the_rules_or_fails(project: Path) -> None:
    projects.push_all(project)
    message = ("-m", "Promote", "-m", "Version: v0.1.0")
    projects.run(project, "git", "tag", "-a", "toy#production#1", "toy@v0.1.0^{commit}", *message)
    assert "toy#production#1 of " in said(project, "stage")
    assert failed(project) == {}
    rule = "register: {name: toy, stages: {production: {approvals: 1}}}\n"
    lines(project, "params.yaml", ("register: {name: toy}\n", rule))
    projects.run(project, "git", "add", "--all")
    rule_from = ("env", "GIT_COMMITTER_DATE=@4000000000 +0000", "git")
    projects.run(project, *rule_from, "commit", "-qm", "Production asks for an approval")
    projects.run(project, "git", "push", "-q", "origin", "main")
    projects.run(
        project, *rule_from, "tag", "-a", "toy#production#2", "toy@v0.1.0^{commit}", *message
    )
    registry = read(project, "toy")
    first = verify_version(project, registry.versions[0], assignment=registry.assignments[0])[-1]
    assert first.passed
    assert "production has another rule there today" in first.said
    assert "toy#production#2: it has 0 of the 1 approvals" in failed(project)["stage"]
    assert main_in(project, "verify", "toy#production#1", "--json") == 0
    assert main_in(project, "verify", "toy#production#2", "--json") == 4
    assert main_in(project, "verify", "production", "--json") == 4
    projects.run(project, "git", "tag", "toy#production#3", "toy@v0.1.0^{commit}")
    assert main_in(project, "verify", "toy#production#3") == 4
    assert main_in(project, "models", "pull", "toy#production#2") == 5
    assert main_in(project, "models", "pull", "production") == 0


def main_in(project: Path, *words: str) -> int:
    with contextlib.chdir(project):
        return main(list(words))


def test_the_command_ends_with_4_after_saying_all(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["verify", "latest"]) == 0
    assert "all 8 checks passed" in capsys.readouterr().out
    md5 = bundle_md5(project, projects.find_version(project))
    projects.change_byte(projects.cache_path(project, md5))
    assert main(["verify", "latest", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False
    assert [c["name"] for c in told["checks"] if not c["passed"]] == ["objects", "data"]


def test_a_project_that_can_only_be_read_is_verified_and_the_rest_is_a_sentence(
    delivered: Path,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = projects.copy_project(delivered, Path(folder))
        places = [Path(folder), *Path(folder).rglob("*")]
        for place in places:
            if not place.is_symlink():
                place.chmod(0o555 if place.is_dir() else 0o444)
        # Without its rights to pass over them, root keeps to permissions as well.
        plain = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
        plain = plain if os.geteuid() == 0 else []

        def mlops(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*plain, sys.executable, "-m", "mlops_cli", *words],
                cwd=project,
                capture_output=True,
                text=True,
                check=False,
            )

        checked, status = mlops("verify", "latest"), mlops("status")
        for place in places:
            if not place.is_symlink():
                place.chmod(0o755)
    assert "all 8 checks passed" in checked.stdout, checked.stdout + checked.stderr
    assert "unexpected" not in status.stderr
    assert status.returncode in {0, 3}, status.stderr
    assert status.stderr == "" or "Permission denied" in status.stderr
