"""DVC in this process: what it runs, what it reports as changed, and its errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.errors import BadParams, Busy, NotFound, NotProject, StageFailed
from mlops_cli.project import dvc
from mlops_cli.project.locks import lock, wait_for_lock

PIPELINE = """\
stages:
  one:
    cmd: cp in.txt a.txt
    deps: [in.txt]
    params: [seed]
    outs: [a.txt]
  two:
    cmd: sh -c 'grep -q good a.txt || exit 4; cp a.txt b.txt'
    deps: [a.txt]
    outs: [b.txt]
"""
CIRCLE = """\
stages:
  a: {cmd: x, deps: [q], outs: [p]}
  b: {cmd: y, deps: [p], outs: [q]}
"""


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True, capture_output=True
    )
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "in.txt").write_text("good\n")
    return tmp_path


def test_runs_what_changed_and_nothing_else(project: Path) -> None:
    assert dvc.reproduce(project, None) == ["one", "two"]
    assert dvc.reproduce(project, None) == []
    assert (project / "b.txt").read_text() == "good\n"


def test_a_target_brings_what_it_needs_and_no_more(project: Path) -> None:
    assert dvc.reproduce(project, "one") == ["one"]
    assert not (project / "b.txt").exists()


def test_says_what_changed_and_why(project: Path) -> None:
    dvc.reproduce(project, None)
    (project / "params.yaml").write_text("seed: 2\n")
    (project / "b.txt").unlink()
    found = dvc.changes(project)
    assert found == {"one": ["seed is modified"], "two": ["b.txt is deleted (output)"]}


def test_a_stage_that_never_ran_has_neither_lost_nor_got_anything(project: Path) -> None:
    never = ["it has never run"]
    assert dvc.changes(project) == {"one": never, "two": never}
    dvc.reproduce(project, "one")
    assert dvc.changes(project) == {"two": never}


def test_a_failing_stage_passes_its_exit_code_on(project: Path) -> None:
    (project / "in.txt").write_text("bad\n")
    with pytest.raises(StageFailed) as caught:
        dvc.reproduce(project, None)
    assert (caught.value.stage, caught.value.exit_code) == ("two", 4)


def test_without_dvc_it_is_no_project(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(NotProject, match="is not under DVC"):
        dvc.reproduce(tmp_path, None)


def test_without_git_it_is_no_project(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with pytest.raises(NotProject, match="is not under Git"):
        dvc.changes(tmp_path)


def test_a_broken_pipeline_file_is_told(project: Path) -> None:
    (project / "dvc.yaml").write_text("stages:\n  one:\n    cmmd: x\n")
    with pytest.raises(BadParams, match=r"dvc\.yaml"):
        dvc.changes(project)


def test_a_missing_input_is_told(project: Path) -> None:
    (project / "in.txt").unlink()
    with pytest.raises(NotFound, match=r"stage one reads in\.txt, which is not there"):
        dvc.reproduce(project, None)


def test_dvc_at_work_elsewhere_is_busy(project: Path) -> None:
    code = (
        "from dvc.repo import Repo\nimport sys\n"
        "with Repo('.') as r, r.lock:\n print('held', flush=True)\n sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(Busy, match="another DVC command is at work"):
            dvc.reproduce(project, None)
        other.stdin.close()


HOLD = (
    "import sys\nfrom pathlib import Path\nfrom mlops_cli.project.locks import lock\n"
    "with lock(Path(sys.argv[1]), 'x'):\n print('held', flush=True)\n sys.stdin.read()\n"
)


def holder(path: Path) -> subprocess.Popen[bytes]:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    return other


def test_a_held_lock_refuses_and_names_the_process(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    other = holder(path)
    with pytest.raises(Busy, match=f"the project is held by another run \\(process {other.pid}\\)"):
        lock(path, "the project").__enter__()
    other.kill()
    other.communicate()
    with lock(path, "the project"):
        pass  # the killed process left nothing that blocks


def test_a_stage_waits_for_one_that_is_still_at_work(tmp_path: Path) -> None:
    path = tmp_path / "stage.lock"
    other = holder(path)
    said: list[str] = []

    def waiting(text: str) -> None:
        said.append(text)
        other.kill()

    with wait_for_lock(path, waiting):
        pass
    other.communicate()
    assert said == [f"waiting for process {other.pid}, which is still at work on this project"]


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        (".dvc/config", "[core]\n    mystery = 1\n", "mystery"),
        ("dvc.yaml", "stages:\n  one:\n    cmd: x\n    deps: ['${nowhere}']\n", "nowhere"),
        ("dvc.yaml", "stages:\n  a: {cmd: x, outs: [o]}\n  b: {cmd: y, outs: [o]}\n", "output 'o'"),
        ("dvc.yaml", CIRCLE, "dependency and an output"),
    ],
)  # fmt: skip
def test_what_dvc_cannot_use_of_a_projects_files_is_a_fault_of_these(
    project: Path, file: str, text: str, named: str
) -> None:
    (project / file).write_text(text)
    with pytest.raises(BadParams, match=named):
        dvc.reproduce(project, None)


def test_a_stage_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(BadParams, match="three"):
        dvc.reproduce(project, "three")
