"""Life cycle of a model on this repository's data: versions, promotion, new data, rollback."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def done(folder, *command):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def project(tmp_path):
    """A clone with a remote of its own, and a search that is short enough for a test."""
    root, remote = tmp_path / "flights", tmp_path / "flights.git"
    done(tmp_path, "git", "clone", "--quiet", "--no-tags", str(ROOT), str(root))
    done(root, "git", "checkout", "--quiet", "-B", "main")
    done(root, "git", "init", "--quiet", "--bare", "--initial-branch", "main", str(remote))
    done(root, "git", "remote", "set-url", "origin", str(remote))
    done(root, "git", "config", "user.name", "Ann")
    done(root, "git", "config", "user.email", "ann@example.org")
    params = root / "params.yaml"
    text = re.sub(r"trials: \d+", "trials: 2", params.read_text())
    text = re.sub(r"families: \[[^]]*\]", "families: [lightgbm]", text)
    text = re.sub(r" *(beats_baselines|worst_slice): .*\n", "", text)
    # Two months to learn from: what a version's life is like doesn't depend on how good it is.
    text = text.replace("limits: {roc_auc: 0.70}", "limits: {roc_auc: 0.55}")
    params.write_text(re.sub(r"resamples: \d+", "resamples: 100", text))
    return root


def agree(root, version, stages):
    """GTO, DVC and mlops say the same of the registry, and give the same bundle."""
    shown = json.loads(done(root, "gto", "show", "--json"))["flight-delays"]
    assert shown["version"] == version
    assert {s: v for s, v in shown["stage"].items() if v} == stages
    listed = json.loads(done(root, "mlops", "models", "--json"))["versions"]
    assert listed[0]["version"] == version
    assert {stage: v["version"] for v in listed for stage in v["stages"]} == stages
    for stage, number in stages.items():
        theirs, ours = root / ".mlops" / "theirs" / number, root / ".mlops" / "ours" / number
        if not theirs.exists():
            given = ("dvc", "artifacts", "get", ".", "flight-delays", "--stage", stage)
            done(root, *given, "-o", str(theirs))
            done(root, "mlops", "models", "pull", number, "-o", str(ours))
        assert digests(theirs) == digests(ours)
        assert {"manifest.json", "README.md", "bundle.json"} <= digests(ours).keys()


def test_register_promote_new_data_promote_diff_rollback(project):
    done(project, "mlops", "clock", "2013-05-01", "--back")
    done(project, "mlops", "register", "-m", "First")
    agree(project, "v0.1.0", {})
    done(project, "mlops", "promote", "v0.1.0", "--to", "production")
    agree(project, "v0.1.0", {"production": "v0.1.0"})

    done(project, "mlops", "clock", "2013-06-01")
    told = json.loads(done(project, "mlops", "register", "--json"))
    assert told["version"] == "flight-delays@v0.2.0"
    assert told["champion"], "the new model was compared with the one in production"
    agree(project, "v0.2.0", {"production": "v0.1.0"})
    done(project, "mlops", "promote", "latest", "--to", "production", "-m", "Newer data")
    agree(project, "v0.2.0", {"production": "v0.2.0"})

    diff = done(project, "mlops", "models", "diff", "v0.1.0", "v0.2.0")
    assert "ingest.until" in diff
    assert "roc_auc" in diff

    done(project, "mlops", "rollback", "-m", "Just in case")
    agree(project, "v0.2.0", {"production": "v0.1.0"})
    assert done(project, "git", "status", "--porcelain") == ""
    # The workspace is still that of v0.2.0, and it reproduces.
    assert "nothing changed" in done(project, "mlops", "run")
