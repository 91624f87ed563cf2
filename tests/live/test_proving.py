"""`mlops verify`: every claim of a version is checked, and what was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import delivered_projects as made
import pytest

from mlops_cli.cli.app import main
from mlops_cli.live.proving import prove
from mlops_cli.store.delivery import bundle_md5
from mlops_cli.store.objects import Objects


def failed(project: Path) -> dict[str, str]:
    """Check -> what it says, of those that failed."""
    return {c.name: c.said for c in prove(project, made.version(project)) if not c.passed}


def said(project: Path, name: str) -> str:
    return next(c.said for c in prove(project, made.version(project)) if c.name == name)


def again(project: Path) -> None:
    """Register HEAD anew after a change by hand."""
    made.commit(project, "By hand")
    made.tag(project, "v0.2.0")


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
    files = Objects(project).tree(bundle_md5(project, made.version(project)), "models/model")
    for name, md5 in files.items():
        made.flip(made.cached(project, md5))
        assert f"models/model/{name} was changed" in failed(project)["objects"]
        made.flip(made.cached(project, md5))


def test_data_that_was_changed_or_is_nowhere_fails_and_is_named(project: Path) -> None:
    md5 = (project / "data" / "rows.csv.dvc").read_text().partition("md5: ")[2][:32]
    made.flip(made.cached(project, md5))
    assert "data/rows.csv was changed" in failed(project)["data"]
    made.cached(project, md5).unlink()
    assert "data/rows.csv" in failed(project)["data"]
    (project / ".dvc" / "config").write_text("")
    assert "the project has no DVC remote" in failed(project)["data"]


def test_data_in_the_remote_only_is_fetched_and_said(project: Path) -> None:
    made.push_all(project)
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
            lambda p: (p / "params.yaml").write_text(made.PARAMS.replace("seed: 3", "seed: 4")),
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


def test_a_record_of_another_bundle_or_decision_fails(project: Path) -> None:
    place = project / "models" / "registration.json"
    record = json.loads(place.read_text())
    place.write_text(json.dumps(record | {"decision": "rejected"}))
    made.commit(project, "By hand")
    made.run(project, "git", "tag", "-a", "toy@v0.2.0", "-m", "x")
    found = failed(project)
    assert "'rejected'" in found["decision"]
    assert "doesn't state a bundle" in found["manifest"]


def test_a_lightweight_tag_fails(project: Path) -> None:
    made.commit_nothing(project)
    made.run(project, "git", "tag", "toy@v0.2.0")
    assert "lightweight" in failed(project)["tag"]


def test_a_signature_is_told_good_from_unverifiable_and_foreign(project: Path) -> None:
    made.run(project.parent, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key")
    public = (project.parent / "key.pub").read_text()
    for key, value in (("gpg.format", "ssh"), ("user.signingkey", str(project.parent / "key.pub"))):
        made.run(project, "git", "config", key, value)
    sha256 = made.version(project).bundle
    made.commit_nothing(project)
    made.run(project, "git", "tag", "-s", "toy@v0.2.0", "-m", f"R\n\nBundle: {sha256}\n")
    assert failed(project) == {}
    assert "no key to verify it" in said(project, "tag")
    allowed = project.parent / "allowed"
    allowed.write_text(f"ann@example.org {public}")
    made.run(project, "git", "config", "gpg.ssh.allowedSignersFile", str(allowed))
    assert "the signature is good" in said(project, "tag")
    made.run(project.parent, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other")
    allowed.write_text(f"ann@example.org {(project.parent / 'other.pub').read_text()}")
    assert "is not good" in failed(project)["tag"]


def test_the_command_ends_with_4_after_saying_all(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["verify", "latest"]) == 0
    assert "all 8 checks passed" in capsys.readouterr().out
    md5 = bundle_md5(project, made.version(project))
    made.flip(made.cached(project, md5))
    assert main(["verify", "latest", "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is False
    assert [c["name"] for c in told["checks"] if not c["passed"]] == ["objects", "data"]
