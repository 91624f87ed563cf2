"""`mlops pull --rebase`: edits and commits on top of a colleague's version."""

import json
import shutil
from pathlib import Path

import pytest
from small_projects import change_seed, clone_project, create_project, mlops, run_command

from mlops_cli.errors import NotProject
from mlops_cli.layout import Layout
from mlops_cli.params import load
from mlops_cli.project import switch
from mlops_cli.project.git import Git
from mlops_cli.registry.commit_outputs import require_branch
from mlops_cli.registry.register import refuse_behind
from mlops_cli.registry.session import Session
from mlops_cli.registry.sync.push_pull import pull, pull_rebased

DROPPED = ("dvc.lock", "models/registration.json")
"""Of what bo's run has made; his metrics are as they were."""


@pytest.fixture(scope="module")
def race(tmp_path_factory):
    """Bo has run a pipeline of his own settings; Ann has registered v0.2.0 meanwhile."""
    root = create_project(tmp_path_factory.mktemp("race") / "shop")
    run_command(root, "mlops", "register")
    bo = clone_project(root, root.with_name("bo"), "bo")
    run_command(bo, "dvc", "checkout", "--quiet")
    limited(bo)
    run_command(bo, "mlops", "run")
    run_command(change_seed(root, 2), "mlops", "register")
    return bo


@pytest.fixture
def bo(race, tmp_path):
    shutil.copytree(race, tmp_path / "bo", symlinks=True)
    remote = tmp_path / "shop.git"
    run_command(
        tmp_path,
        "git",
        "clone",
        "--quiet",
        "--mirror",
        str(race.with_name("shop.git")),
        str(remote),
    )
    run_command(tmp_path / "bo", "git", "remote", "set-url", "origin", str(remote))
    return tmp_path / "bo"


def limited(root):
    """An edit of params.yaml, far from the seed."""
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("gates: {}", "gates: {limits: {mae: 50}}"))


def settings(root):
    found = load(root / "params.yaml")
    return found.project.seed, found.register_.gates.limits.get("mae")


def status(root):
    return run_command(root, "git", "status", "--porcelain").splitlines()


def head(root, revision="HEAD"):
    return run_command(root, "git", "rev-parse", revision).strip()


def here(root):
    """HEAD, what is staged, and what isn't."""
    return (
        head(root),
        status(root),
        run_command(root, "git", "diff", "HEAD"),
        run_command(root, "git", "diff"),
    )


def refused(root, *patterns, prefer=None):
    before = here(root)
    with pytest.raises(NotProject) as caught:
        pull_rebased(root, "shop", prefer=prefer)
    assert here(root) == before
    for pattern in patterns:
        assert pattern in f"{caught.value.message} {caught.value.hint}"


def test_a_lost_race_is_repaired_by_one_command_and_registered(bo):
    with pytest.raises(NotProject, match="only you have") as caught:
        pull(bo, "shop")
    assert "mlops pull --rebase" in caught.value.hint
    told = mlops(bo, "pull", "--rebase")
    assert told.returncode == 0, told.stderr
    assert "your edits are kept: params.yaml" in told.stdout
    assert "dropped, as the pipeline makes it: dvc.lock, models/registration.json" in told.stdout
    assert status(bo) == [" M params.yaml"]
    assert settings(bo) == (2, 50)
    assert head(bo) == head(bo, "origin/main")
    run_command(change_seed(bo, 5), "mlops", "register")
    assert "shop@v0.3.0" in run_command(bo, "git", "ls-remote", "--tags", "origin")


def test_registering_asks_the_remote_before_the_pipeline_runs(bo):
    change_seed(bo, 7)
    before = here(bo)
    result = mlops(bo, "register")
    assert result.returncode == 8
    said = " ".join(result.stderr.split())
    assert "has commits that are not here: Ann <ann@example.org> registered shop@v0.2.0" in said
    assert "mlops pull --rebase" in said
    assert here(bo) == before  # the pipeline would have made other reports


def test_a_branch_of_commits_without_versions_names_their_author(bo):
    other = clone_project(bo.with_name("shop"), bo.with_name("cy"), "cy")
    run_command(other, "git", "commit", "--quiet", "--allow-empty", "--message", "A note")
    run_command(other, "git", "push", "--quiet")
    run_command(bo, "git", "stash", "--quiet")
    pull(bo, "shop")
    run_command(bo, "git", "reset", "--quiet", "--hard", "HEAD~1")
    layout = Layout(bo)
    with (
        Session.open(load(layout.params), layout) as session,
        pytest.raises(Exception, match=r"the last is [0-9a-f]+ by Cy, A note"),
    ):
        refuse_behind(session)


def test_own_commits_come_on_top_without_what_the_pipeline_made(bo):
    run_command(bo, "git", "commit", "--quiet", "--all", "--message", "A limit\n\nAnd why.")
    (bo / "notes.md").write_text("mine\n")
    run_command(bo, "git", "add", "notes.md")
    with pytest.raises(NotProject, match="have diverged") as caught:
        pull(bo, "shop")
    assert "mlops pull --rebase" in caught.value.hint
    moved = pull_rebased(bo, "shop")
    assert (moved.commits, moved.kept, moved.dropped) == (1, ("notes.md",), ())
    assert head(bo, "HEAD~1") == head(bo, "origin/main")
    assert run_command(bo, "git", "show", "--name-only", "--format=%an %B").split() == [
        *["Bo", "A", "limit", "And", "why."],
        "params.yaml",
    ]
    assert status(bo) == ["A  notes.md"]
    assert settings(bo) == (2, 50)


def test_a_commit_of_results_alone_leaves_nothing_to_put_on_top(bo):
    run_command(bo, "git", "checkout", "--quiet", "params.yaml")
    run_command(bo, "git", "commit", "--quiet", "--all", "--message", "Results")
    moved = pull_rebased(bo, "shop")
    assert moved.commits == 0
    assert head(bo) == head(bo, "origin/main")
    assert status(bo) == []


def test_what_is_staged_stays_staged(bo):
    run_command(bo, "git", "add", "params.yaml", "dvc.lock")
    text = (bo / "params.yaml").read_text()
    (bo / "params.yaml").write_text(f"{text}# later\n")
    (bo / "make.py").chmod(0o755)
    (bo / "new.py").write_text("x = 1\n")
    run_command(bo, "git", "add", "new.py")
    (bo / "scratch.txt").write_text("untracked\n")
    moved = pull_rebased(bo, "shop")
    assert moved.dropped == DROPPED
    assert status(bo) == [" M make.py", "A  new.py", "MM params.yaml", "?? scratch.txt"]
    assert "# later" not in run_command(bo, "git", "show", ":params.yaml")
    assert settings(bo) == (2, 50)
    assert (bo / "params.yaml").read_text().endswith("# later\n")


def test_the_same_lines_changed_on_both_sides_are_refused_with_keys_and_values(bo):
    change_seed(bo, 3)
    said = "params.yaml was changed in the same place here and in origin/main"
    refused(bo, said, "(project.seed: 3 here, 2 there)", "--prefer mine")
    run_command(bo, "git", "commit", "--quiet", "--all", "--message", "Seed")
    refused(bo, said)
    moved = pull_rebased(bo, "shop", prefer="mine")
    assert settings(bo) == (3, 50)
    assert (moved.decided, moved.commits) == (("params.yaml",), 1)


def test_their_lines_are_taken_where_that_is_asked_for_and_mine_stay_at_hand(bo):
    change_seed(bo, 3)
    pull_rebased(bo, "shop", prefer="theirs")
    assert settings(bo) == (2, 50)
    run_command(bo, "git", "checkout", "--quiet", ".")
    run_command(bo, "git", "checkout", "--quiet", switch.BEFORE_PULL_REF, "--", "params.yaml")
    assert settings(bo) == (3, 50)


@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_a_file_that_one_side_removed_and_the_other_changed_is_refused(bo, how):
    other = clone_project(bo.with_name("shop"), bo.with_name("cy"), "cy")
    mine, theirs = (bo, other) if how == "edited" else (other, bo)
    (mine / "make.py").write_text((mine / "make.py").read_text() + "# more\n")
    (theirs / "make.py").unlink()
    run_command(other, "git", "commit", "--quiet", "--all", "--message", "make.py")
    run_command(other, "git", "push", "--quiet")
    refused(bo, "make.py was changed in the same place")


def test_files_that_only_you_have_are_not_overwritten(bo):
    other = clone_project(bo.with_name("shop"), bo.with_name("cy"), "cy")
    (other / "notes.md").write_text("theirs\n")
    run_command(other, "git", "add", "notes.md")
    run_command(other, "git", "commit", "--quiet", "--message", "Notes")
    run_command(other, "git", "push", "--quiet")
    (bo / "notes.md").write_text("mine\n")
    refused(bo, "only you have: notes.md")
    assert (bo / "notes.md").read_text() == "mine\n"
    (bo / "notes.md").write_text("theirs\n")
    pull_rebased(bo, "shop")
    assert status(bo) == [" M params.yaml"]


def test_outputs_are_only_yours_where_neither_dvc_lock_nor_the_cache_has_them(bo):
    run_command(
        bo, "git", "checkout", "--quiet", "."
    )  # the outputs are of the run, dvc.lock is not
    pull(bo, "shop")
    assert status(bo) == []
    bundle = bo / "models" / "model" / "bundle.json"
    bundle.chmod(0o644)
    text = bundle.read_text()
    bundle.unlink()
    bundle.write_text(text + " ")
    refused(bo, "only you have: models/model")
    assert bundle.read_text() == text + " "


def test_merges_among_the_own_commits_are_left_to_git(bo):
    run_command(bo, "git", "stash", "--quiet")
    for branch in ("side", "main"):
        run_command(
            bo, "git", "switch", "--quiet", *(["--create"] if branch == "side" else []), branch
        )
        run_command(bo, "git", "commit", "--quiet", "--allow-empty", "--message", branch)
    run_command(bo, "git", "merge", "--quiet", "--no-edit", "side")
    refused(bo, "is a merge of others", "git merge")


class Killed(BaseException):
    """As far as the code can tell, the process ends here."""


@pytest.mark.parametrize("point", ["files", "read-tree", "update-ref", "checkout"])
def test_a_killed_call_is_completed_by_the_next_one(bo, monkeypatch, point):
    (bo / "code.py").write_text("x = 1\n")
    run_command(bo, "git", "add", "code.py")
    killed_at(monkeypatch, point)
    with pytest.raises(Killed):
        pull_rebased(bo, "shop")
    monkeypatch.undo()
    with pytest.raises(NotProject, match="was interrupted"):
        require_branch(Git(bo))
    with pytest.raises(NotProject, match="was interrupted"):
        pull(bo, "shop")
    pull_rebased(bo, "shop")
    assert status(bo) == ["A  code.py", " M params.yaml"]
    assert settings(bo) == (2, 50)
    assert head(bo) == head(bo, "origin/main")
    assert not (bo / ".mlops" / "pull.json").exists()
    bundle = bo / "models" / "model" / "bundle.json"
    assert json.loads(bundle.read_text())["facts"] == {"seed": 2}


def killed_at(monkeypatch, point):
    """Let the switch end at a point, as a kill would."""
    run, replaced = Git.run, Path.replace

    def git(self, *words, **options):
        at = (
            words[:2] == ("read-tree", "--reset")
            if point == "read-tree"
            else (point == "update-ref" and words[:2] == ("update-ref", "-m"))
        )
        if at:
            raise Killed
        return run(self, *words, **options)

    def replace(self, target):
        if point == "files" and Path(target).name == "params.yaml":
            raise Killed
        return replaced(self, target)

    monkeypatch.setattr(Git, "run", git)
    monkeypatch.setattr(Path, "replace", replace)
    if point == "checkout":
        monkeypatch.setattr("mlops_cli.registry.sync.rebase._checkout_data", _killed)


def _killed(_):
    raise Killed


def test_edits_after_a_kill_are_not_overwritten(bo, monkeypatch):
    killed_at(monkeypatch, "files")
    with pytest.raises(Killed):
        pull_rebased(bo, "shop")
    monkeypatch.undo()
    text = (bo / "params.yaml").read_text()
    (bo / "params.yaml").write_text(text + "# after\n")
    refused(bo, "only you have: params.yaml")
    run_command(bo, "git", "stash", "--quiet")
    pull_rebased(bo, "shop")
    assert settings(bo) == (2, 50)


def test_a_file_of_yours_in_the_place_of_an_output_puts_everything_back(bo):
    other = clone_project(bo.with_name("shop"), bo.with_name("cy"), "cy")
    (other / "table.csv").write_text("a,b\n1,2\n")
    run_command(
        other,
        "dvc",
        "config",
        "--local",
        "cache.dir",
        run_command(bo, "dvc", "cache", "dir").strip(),
    )
    run_command(other, "dvc", "add", "--quiet", "table.csv")
    run_command(other, "git", "add", "--all")
    run_command(other, "git", "commit", "--quiet", "--message", "A table")
    run_command(other, "git", "push", "--quiet")
    (bo / "table.csv").write_text("mine\n")
    refused(bo, "table.csv", "Move them elsewhere")
    assert (bo / "table.csv").read_text() == "mine\n"
    (bo / "table.csv").unlink()
    pull_rebased(bo, "shop")
    assert (bo / "table.csv").read_text() == "a,b\n1,2\n"
