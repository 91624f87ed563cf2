"""The loop's play tells a refusal as well as a promotion, and ends with neither of them badly."""

import datetime as dt
import importlib.util
import shutil
from pathlib import Path

import pytest
from retrained_projects import arrived, orders, project
from small_projects import done


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = project(tmp_path_factory.mktemp("loop") / "shop")
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("{promote: true}", "{promote: true, every: 7d}"))
    done(root, "git", "commit", "--quiet", "--all", "--message", "Weekly")
    return root


@pytest.fixture
def loop(made, tmp_path, monkeypatch):
    """The example, with another project as its clone."""
    place = Path(__file__).resolve().parents[1] / "examples" / "loop.py"
    spec = importlib.util.spec_from_file_location("loop", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PLACE", shutil.copytree(made, tmp_path / "shop", symlinks=True))
    return module


def test_a_promotion_is_told_with_its_reason(loop, capsys):
    told = loop.retrained(dt.date(2024, 3, 1))
    assert (told["outcome"], told["version"]) == ("promoted", "v0.2.0")
    assert "over 7d before 2024-03-01" in capsys.readouterr().out


def test_a_refusal_is_told_with_its_reason_and_the_champion_stays(loop, capsys):
    arrived(loop.PLACE, orders(84, strange=lambda day: 28 <= day < 62))
    told = loop.retrained(dt.date(2024, 3, 28))
    assert told["outcome"] == "refused"
    said = capsys.readouterr().out
    assert "may be worse than shop@v0.1.0" in said
    assert "v0.1.0 stays in production, and all files are as they were" in said
