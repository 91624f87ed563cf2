"""The example `examples/loop.py`: a retraining with a promotion, and one with a refusal."""

import datetime as dt
import importlib.util
import shutil
from pathlib import Path

import pytest
from retraining_projects import commit_new_data, create_project, make_orders
from small_projects import run_command


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = create_project(tmp_path_factory.mktemp("loop") / "shop")
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("{promote: true}", "{promote: true, every: 7d}"))
    run_command(root, "git", "commit", "--quiet", "--all", "--message", "Weekly")
    return root


@pytest.fixture
def loop(made, tmp_path, monkeypatch):
    """The example, with another project as its clone."""
    path = Path(__file__).resolve().parents[1] / "examples" / "loop.py"
    spec = importlib.util.spec_from_file_location("loop", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CLONE", shutil.copytree(made, tmp_path / "shop", symlinks=True))
    return module


def test_a_promotion_is_printed_with_its_reason(loop, capsys):
    report = loop.retrain(dt.date(2024, 3, 1))
    assert (report["outcome"], report["version"]) == ("promoted", "v0.2.0")
    assert "over 7d before 2024-03-01" in capsys.readouterr().out


def test_a_refusal_is_printed_with_its_reason_and_the_champion_stays(loop, capsys):
    commit_new_data(loop.CLONE, make_orders(84, strange=lambda day: 28 <= day < 62))
    report = loop.retrain(dt.date(2024, 3, 28))
    assert report["outcome"] == "refused"
    output = capsys.readouterr().out
    assert "may be worse than shop@v0.1.0" in output
    assert "v0.1.0 stays in production, and all files are unchanged" in output
