"""Schedules for cron, systemd and GitHub that run `mlops watch --once`."""

import re
import shlex
import sys

import pytest

from mlops_cli.errors import Usage
from mlops_cli.layout import Layout
from mlops_cli.params.reading import read_yaml
from mlops_cli.retraining.schedules import schedule
from mlops_cli.scaffold.ci import texts


@pytest.mark.parametrize(
    ("every", "fields"),
    [("15m", "*/15 * * * *"), ("1h", "0 * * * *"), ("60m", "0 * * * *"), ("6h", "0 */6 * * *"),
     ("1d", "0 3 * * *"), ("24h", "0 3 * * *"), ("1w", "0 3 * * 1"), ("1mo", "0 3 1 * *")],
)  # fmt: skip
def test_a_crontab_line_has_folder_and_time(tmp_path, every, fields) -> None:
    root = tmp_path / "a b%"
    line = schedule("cron", Layout(root), every)
    assert line.startswith(f"{fields} cd ")
    words = shlex.split(line.replace(r"\%", "%"))[5:]
    run = [sys.executable, "-m", "mlops_cli", "watch", "--once"]
    assert words == ["cd", str(root), "&&", *run]


@pytest.mark.parametrize("every", ["7h", "45m", "2d", "90s", "0m", "1d12h"])
def test_what_cron_cannot_say_evenly_is_refused(tmp_path, every) -> None:
    with pytest.raises(Usage, match=f"can't say every {every}"):
        schedule("cron", Layout(tmp_path), every)


def test_systemd_gets_a_service_and_a_timer_of_any_length(tmp_path) -> None:
    text = schedule("systemd", Layout(tmp_path / "50%"), "7h")
    assert "OnUnitActiveSec=25200s" in text
    assert f"WorkingDirectory={tmp_path}/50%%\n" in text
    assert "@" not in re.sub(r"#.*", "", text)
    with pytest.raises(Usage, match="no fixed length"):
        schedule("systemd", Layout(tmp_path), "1mo")


@pytest.mark.parametrize("kind", ["cron", "systemd"])
def test_a_folder_with_a_line_break_in_its_path_is_no_line_of_a_schedule(tmp_path, kind) -> None:
    with pytest.raises(Usage, match=f"{kind} can't say the project's folder"):
        schedule(kind, Layout(tmp_path / "a\n* * * * * b"), "1d")


def test_a_hostile_folder_is_no_name_of_a_unit_or_workflow(tmp_path) -> None:
    layout = Layout(tmp_path / 'a"\n%h')
    assert read_yaml(schedule("github", layout, "1d"), "watch.yml")["name"] == "a-h: watch"
    text = schedule("github", layout, "1d", 'a"\n: b')
    assert read_yaml(text, "watch.yml")["name"] == 'a"\n: b: watch'
    assert "retrain a-b\n" in schedule("systemd", Layout(tmp_path / "A %b"), "1d")


def test_the_workflow_is_yaml_and_runs_one_round(tmp_path) -> None:
    tree = read_yaml(schedule("github", Layout(tmp_path), "6h"), "watch.yml")
    triggers = tree.get("on", tree.get(True))
    assert triggers["schedule"] == [{"cron": "0 */6 * * *"}]
    (run,) = [s["run"] for s in tree["jobs"]["watch"]["steps"] if "retrain" in s.get("name", "")]
    assert run.splitlines()[-1] == "mlops watch --once"


def test_the_workflow_keeps_what_was_told_from_run_to_run_whatever_became_of_the_round(tmp_path):
    steps = read_yaml(schedule("github", Layout(tmp_path), "6h"), "watch.yml")["jobs"]["watch"]
    uses = [s.get("uses", "run").partition("@")[0] for s in steps["steps"]]
    restore, save = (uses.index(f"actions/cache/{what}") for what in ("restore", "save"))
    assert restore + 1 == save - 1
    assert "mlops watch --once" in steps["steps"][restore + 1]["run"]
    kept = {steps["steps"][at]["with"]["path"] for at in (restore, save)}
    assert kept == {".mlops/monitor"}
    assert steps["steps"][save]["if"] == "always()"
    key = steps["steps"][save]["with"]["key"]
    assert key.startswith(steps["steps"][restore]["with"]["restore-keys"])
    assert "github.run_id" in key


def test_schedules_are_called_by_the_project_and_run_by_its_python(tmp_path) -> None:
    layout = Layout(tmp_path / "a")
    assert "retrain shop\n" in schedule("systemd", layout, "1d", "shop")
    tree = read_yaml(schedule("github", layout, "1d", "shop"), "watch.yml")
    assert tree["name"] == "shop: watch"
    setup = next(s for s in tree["jobs"]["watch"]["steps"] if "setup-python" in s.get("uses", ""))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert setup["with"]["python-version"] == version
    for provider in ("github", "gitlab"):
        for text in texts(provider).values():
            assert version in text
            assert "<%" not in text
