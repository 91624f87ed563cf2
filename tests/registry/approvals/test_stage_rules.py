"""Assignments count by the rules of the default branch; other tags are ignored."""

from __future__ import annotations

import dataclasses

import approval_projects as projects
import pytest
from approval_projects import approve, promote, run_command

from mlops_cli.errors import DataRefused, ModelRefused, NotFound, NotProject
from mlops_cli.promotion.promote import rollback
from mlops_cli.registry.approvals.stage_rules import StageRules, find_trusted, read_trusted
from mlops_cli.registry.git_tags import read
from mlops_cli.registry.tags import Tag
from mlops_cli.registry.versions import Assignment

ONE = "{approvals: 1, approvers: [ann@example.org]}"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return projects.create_project(tmp_path_factory.mktemp("ruled"), ONE)


@pytest.fixture
def root(template, tmp_path):
    return projects.copy_project(template, tmp_path)


def edit(root, rule):
    text = (root / "params.yaml").read_text()
    start = text.index("    production: ")
    (root / "params.yaml").write_text(f"{text[:start]}    production: {rule}\n")


def assign(root, counter, version="v0.1.0", *, stage="production", lines=(), **environment):
    """An assignment by hand, annotated and with the right trailers."""
    message = "\n".join(("Promote", "", f"Version: {version}", *lines))
    name = f"shop#{stage}#{counter}"
    commit = f"shop@{version}^{{commit}}"
    run_command(root, "git", "tag", "-a", name, commit, "-m", message, **environment)
    return name


def stages(root, notes=None):
    found = read_trusted(root, "shop", (notes if notes is not None else []).append)
    return {stage: v.number for stage, v in found.stages().items()}


def test_an_edited_rule_does_not_hold_until_the_team_has_it(root):
    edit(root, "{}")
    notes = []
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(root, notes=notes)
    assert any("differs from origin/main, whose rule holds" in n for n in notes)
    run_command(root, "git", "commit", "-qam", "Mine alone")
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(root)
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(root, local=True)
    run_command(root, "git", "push", "-q", "origin", "main")
    assert promote(root).stage == "production"


def test_a_branch_of_ones_own_has_no_rules(root):
    run_command(root, "git", "checkout", "-q", "-b", "mine")
    projects.set_rule(root, "{}", push=False)
    run_command(root, "git", "push", "-q", "-u", "origin", "mine")
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(root)


def test_a_stage_of_ones_own_does_not_exist(root):
    with (root / "params.yaml").open("a") as file:
        file.write("    canary: {}\n")
    with pytest.raises(NotFound, match=r"no stage 'canary' in register.stages .*origin/main"):
        promote(root, stage="canary")


def test_without_a_remote_the_local_default_branch_counts(root):
    run_command(root, "git", "remote", "remove", "origin")
    edit(root, "{}")
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(root)
    run_command(root, "git", "commit", "-qam", "Agreed")
    promote(root)


def test_the_default_branch_is_asked_for_where_the_clone_does_not_know_it(root, tmp_path):
    run_command(root, "git", "branch", "-m", "main", "trunk")
    run_command(root, "git", "push", "-q", "origin", "trunk", "trunk:main", "trunk:lax")
    run_command(tmp_path / "shop.git", "git", "symbolic-ref", "HEAD", "refs/heads/trunk")
    other = tmp_path / "other"
    run_command(tmp_path, "git", "init", "-q", str(other))
    for words in (
        ("remote", "add", "origin", "../shop.git"),
        ("fetch", "-q", "origin", "lax", "--tags"),
        ("checkout", "-q", "-B", "lax", "FETCH_HEAD"),
        ("config", "remote.origin.fetch", "+refs/heads/lax:refs/remotes/origin/lax"),
        ("config", "user.name", "Bo"),
        ("config", "user.email", "bo@example.org"),
    ):
        run_command(other, "git", *words)
    projects.set_rule(other, "{}", push=False)
    run_command(other, "git", "push", "-q", "origin", "lax")
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        promote(other)
    head = run_command(other, "git", "symbolic-ref", "refs/remotes/origin/HEAD").strip()
    assert head == "refs/remotes/origin/trunk"


def test_a_remote_with_several_branches_and_no_default_one_is_said(root):
    head = run_command(root, "git", "rev-parse", "HEAD").strip()
    for name in ("one", "two"):
        run_command(root, "git", "update-ref", f"refs/remotes/origin/{name}", head)
    run_command(root, "git", "update-ref", "-d", "refs/remotes/origin/main")
    with pytest.raises(NotProject, match=r"which branch .* is its default one") as caught:
        _ = StageRules(root, read(root, "shop")).branch
    assert "git remote set-head origin" in caught.value.hint


def test_a_lightweight_assignment_is_passed_over_with_a_note(root):
    approve(root, "ann")
    promote(root)
    run_command(root, "git", "tag", "shop#production#5", "shop@v0.1.0^{commit}")
    notes = []
    assert stages(root, notes) == {"production": "v0.2.0"}
    assert "the tag shop#production#5 is lightweight" in notes[0]
    with pytest.raises(DataRefused, match="lightweight"):
        find_trusted(root, "shop", "shop#production#5")


def test_an_assignment_without_its_approvals_does_not_count(root):
    approve(root, "ann")
    promote(root)
    assign(root, 7)
    notes = []
    assert stages(root, notes) == {"production": "v0.2.0"}
    assert "shop#production#7 doesn't count: it has 0 of the 1 approvals" in notes[0]
    assert find_trusted(root, "shop", "production").number == "v0.2.0"
    with pytest.raises(ModelRefused, match="has 0 of the 1 approvals"):
        find_trusted(root, "shop", "shop#production#7")
    assert find_trusted(root, "shop", "shop#production#1").number == "v0.2.0"
    approve(root, "ann", version="v0.1.0")
    assert stages(root) == {"production": "v0.1.0"}


def test_a_rollback_leads_only_to_what_was_there_by_the_rules(root):
    assign(root, 1, "v0.1.0")
    approve(root, "ann")
    promote(root)
    assign(root, 9, "v0.1.0", lines=("Action: rollback",))
    assert stages(root) == {"production": "v0.2.0"}
    with projects.open_session(root) as one:
        with pytest.raises(NotFound, match="no earlier version"):
            rollback(one, "production")
        with pytest.raises(NotFound, match="has never been in production"):
            rollback(one, "production", "v0.1.0")


def test_a_real_rollback_counts_and_the_next_number_passes_over_what_is_taken(root):
    for version in ("v0.1.0", "v0.2.0"):
        approve(root, "ann", version=version)
        promote(root, version)
    run_command(root, "git", "tag", "shop#production#3", "shop@v0.1.0^{commit}")
    with projects.open_session(root) as one:
        made_now, _ = rollback(one, "production")
    assert made_now.tag.name == "shop#production#4"
    assert stages(root) == {"production": "v0.1.0"}


def test_a_promotion_keeps_to_the_rule_of_its_time(root):
    projects.set_rule(root, "{}")
    promote(root, "v0.1.0")
    projects.set_rule(root, ONE)
    assert stages(root) == {"production": "v0.1.0"}, "promoted before the rule"
    approve(root, "ann")
    promote(root)
    old = run_command(root, "git", "rev-parse", "HEAD~1").strip()
    assign(root, 8, lines=(f"Rules: {old}",))
    past = {"GIT_COMMITTER_DATE": "@1600000000 +0000"}
    assign(root, 9, **past)
    notes = []
    assert stages(root, notes) == {"production": "v0.2.0"}, "an old rule after a newer one"
    assert sum("newer ones" in n or "0 of the 1" in n for n in notes) == 2


SIGNED = "{after: staging, approvals: 1, approvers: [ann@example.org], signed: true}"


@pytest.fixture
def tightened(root):
    """Rules that ask for nothing, an hour later strict ones, and then v0.3.0, put into staging."""
    projects.set_rule(root, "{}")
    lax = projects.object_id(root, "HEAD")
    edit(root, SIGNED)
    second = int(run_command(root, "git", "log", "-1", "--format=%ct").strip())
    later = {"GIT_COMMITTER_DATE": f"@{second + 3600} +0000"}
    run_command(root, "git", "commit", "-qam", "Strict", **later)
    run_command(root, "git", "push", "-q", "origin", "main")
    message = ("-m", "x", "-m", "Bundle: 33")
    run_command(root, "git", "tag", "-a", "shop@v0.3.0", *message, **later)
    assign(
        root, 1, "v0.3.0", stage="staging", lines=(f"Rules: {projects.object_id(root, 'HEAD')}",)
    )
    assert stages(root) == {"staging": "v0.3.0"}
    return root, lax, second


@pytest.mark.parametrize("version", ["v0.3.0", "v0.2.0", "v0.9.0"])
@pytest.mark.parametrize("way", ["stated", "dated", "merged"])
def test_older_rules_cannot_be_named(tightened, version, way):
    root, lax, second = tightened
    if version == "v0.9.0":  # on the old commit, and with a date of then
        past = {"GIT_COMMITTER_DATE": f"@{second} +0000"}
        run_command(root, "git", "tag", "-a", "shop@v0.9.0", lax, "-m", "x", **past)
    assign(root, 2, version, stage="staging")
    lines, dates = (), {"GIT_COMMITTER_DATE": f"@{second + 1} +0000"}
    if way == "stated":
        lines, dates = (f"Rules: {lax}",), {}
    if way == "merged":  # rules of a branch that was merged without them: they never held
        run_command(root, "git", "checkout", "-q", "-b", "aside")
        projects.set_rule(root, "{}", push=False)
        lines, dates = (f"Rules: {projects.object_id(root, 'HEAD')}",), {}
        projects.set_rule(root, SIGNED, push=False)
        run_command(root, "git", "checkout", "-q", "main")
        run_command(root, "git", "merge", "-q", "--no-ff", "-m", "Merge", "aside")
        run_command(root, "git", "push", "-q", "origin", "main")
    assign(root, 3, version, lines=lines, **dates)
    notes = []
    assert "production" not in stages(root, notes)
    assert any("shop#production#3 doesn't count" in n and "0 of the 1 signed" in n for n in notes)


@pytest.mark.parametrize(("after", "counts"), [(7200, False), (60, True)])
def test_a_version_of_an_old_commit_is_not_older_than_its_own_tag(tightened, after, counts):
    root, lax, second = tightened
    run_command(root, "git", "tag", "-a", "shop@v0.9.0", lax, "-m", "x",
         GIT_COMMITTER_DATE=f"@{second + after} +0000")  # fmt: skip
    run_command(root, "git", "tag", "-d", "shop#staging#1")
    assign(root, 1, "v0.9.0", lines=(f"Rules: {lax}",))
    assert stages(root) == ({"production": "v0.9.0"} if counts else {})


def test_a_promotion_of_an_older_clone_counts_where_its_rule_is_the_same(root):
    projects.set_rule(root, ONE.replace("1,", "1, signed: false,"))
    old = projects.object_id(root, "HEAD")
    run_command(root, "git", "commit", "-q", "--allow-empty", "-m", "Something else")
    run_command(root, "git", "push", "-q", "origin", "main")
    promote(root, stage="staging")
    approve(root, "ann")
    assign(root, 2, "v0.2.0", lines=(f"Rules: {old}",))
    assert stages(root) == {"staging": "v0.2.0", "production": "v0.2.0"}


def test_an_assignment_that_does_not_count_says_nothing_of_the_rules(root):
    projects.set_rule(root, "{}")
    lax = projects.object_id(root, "HEAD")
    projects.set_rule(root, ONE)
    assign(root, 1, lines=(f"Rules: {projects.object_id(root, 'HEAD')}",))
    assign(root, 2, lines=(f"Rules: {lax}",))
    assert stages(root) == {"production": "v0.1.0"}
    rules = StageRules(root, read(root, "shop"))
    assert [rules.rule_changed(a) for a in rules.registry.assignments] == [False, True]


def test_many_assignments_by_ever_older_rules_are_judged_without_recursion(root):
    commits = []
    for n in range(4):
        run_command(root, "git", "commit", "-q", "--allow-empty", "-m", str(n))
        commits.append(projects.object_id(root, "HEAD"))
    run_command(root, "git", "push", "-q", "origin", "main")
    registry = read(root, "shop")
    version = registry.versions[0]
    assignments = tuple(
        Assignment("staging", version, n, Tag(
            f"shop#staging#{n}", version.commit, version.tag.date,
            message=f"x\n\nVersion: v0.1.0\nRules: {commits[-1 - n // 301]}",
        ))
        for n in range(1, 1201)
    )  # fmt: skip
    rules = StageRules(root, dataclasses.replace(registry, assignments=assignments))
    assert rules.refusal_reason(assignments[-1]) is None


def test_after_asks_for_a_stage_that_was_entered_by_its_own_rule(root):
    text = (root / "params.yaml").read_text()
    changed = text.replace("staging: {}", f"staging: {ONE}").replace(ONE, "{after: staging}", 2)
    changed = changed.replace("staging: {after: staging}", f"staging: {ONE}")
    (root / "params.yaml").write_text(changed)
    run_command(root, "git", "commit", "-qam", "Staging asks")
    run_command(root, "git", "push", "-q", "origin", "main")
    assign(root, 1, stage="staging")
    with pytest.raises(ModelRefused, match="has not been in staging"):
        promote(root, "v0.1.0")
    assign(root, 2)
    assert stages(root) == {}


HEAD = "object {commit}\ntype commit\ntag {name}\ntagger {who}\n\n{message}\n"
WHO = "Ann <ann@example.org> 1700000000 +0000"


@pytest.mark.parametrize(
    ("who", "message", "said"),
    [
        ("", "x", "doesn't say who made it"),
        ("Ann <ann@example.org> 99999999999999 +0000", "x", "doesn't say who made it"),
        ("Ann <ann@example.org> 999999999999 +0000", "x", "is dated 999999999999 seconds"),
        ("Ann <ann@example.org> -5 +0000", "x", "doesn't say who made it"),
        ("Ann <ann@example.org> soon", "x", "doesn't say who made it"),
        ("Ann ann@example.org 1700000000 +0000", "x", "doesn't say who made it"),
        (WHO, "x\0y", "holds a NUL"),
        (WHO, b"caf\xe9", "is not in UTF-8"),
        (b"Andr\xe9 <a@b> 1700000000 +0000", "x", "is not in UTF-8"),
        (WHO, "x" * 300_000, "is larger than"),
    ],
)
@pytest.mark.parametrize("name", ["shop@v0.3.0", "shop#production#3"])
def test_a_tag_that_cannot_be_read_disturbs_nothing(root, name, who, message, said):
    who = who.encode() if isinstance(who, str) else who
    message = message.encode() if isinstance(message, str) else message
    commit = projects.object_id(root, "HEAD").encode()
    tagger = b"tagger " + who + b"\n" if who else b""
    head = b"object " + commit + b"\ntype commit\ntag " + name.encode() + b"\n"
    projects.create_raw_tag(root, name, head + tagger + b"\n" + message + b"\n")
    refused_with(root, name, said)


def refused_with(root, name, said):
    """The tag is passed over with these words, and all else goes on."""
    found = read(root, "shop")
    assert [v.number for v in found.versions] == ["v0.1.0", "v0.2.0"]
    note = next(n for n in found.notes if name in n)
    assert said in note
    projects.set_rule(root, "{}")
    promote(root, "v0.1.0")
    assert stages(root) == {"production": "v0.1.0"}
    assert found.next_number("minor") == ("v0.4.0" if name == "shop@v0.3.0" else "v0.3.0")


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("shop@x", "blob", "names no version|points at a blob"),
        ("shop@v0.3.0", "blob", "points at a blob"),
        ("shop@v0.3.0", "tree", "points at a tree"),
        ("shop@v0.3.0", "nested", "points at a tag"),
        ("shop@v0.3.0", "other name", "was made as shop@v0.1.0"),
        ("shop@v0.3.0", "lying", "points at a commit that is blob"),
        ("shop@v0.3.0", "missing", "points at a commit that is missing"),
        ("shop@v0.1.0!", "lightweight", "is lightweight"),
        ("shop@v0.1.0!", "another commit", "points at another commit"),
        ("shop@v\u0663.0.0", "lightweight", "names no version"),
        ("shop@v" + "9" * 200 + ".0.0", "lightweight", "names no version"),
        ("shop#production#" + "9" * 200, "lightweight", "names no stage and number"),
        ("shop#production#\u0663", "lightweight", "names no stage and number"),
        ("shop#production!#7", "lightweight", "is lightweight"),
        ("shop/approvals/v0.1.0/x", "lightweight", "names no version, stage and person"),
    ],
)
def test_a_tag_that_is_no_versions_disturbs_nothing(root, name, target, said):
    commit = projects.object_id(root, "HEAD")
    if target in {"blob", "tree"}:
        place = {"blob": "HEAD:params.yaml", "tree": "HEAD^{tree}"}[target]
        run_command(root, "git", "tag", name, projects.object_id(root, place))
    elif target == "nested":
        run_command(root, "git", "tag", "-a", name, "shop@v0.1.0", "-m", "Bundle: 0")
    elif target == "other name":
        run_command(
            root, "git", "update-ref", f"refs/tags/{name}", projects.object_id(root, "shop@v0.1.0")
        )
    elif target in {"lying", "missing"}:
        object_id = projects.object_id(root, "HEAD:params.yaml") if target == "lying" else "1" * 40
        text = HEAD.format(commit=object_id, name=name, who=WHO, message="x")
        projects.create_raw_tag(root, name, text.encode())
    elif target == "another commit":
        run_command(root, "git", "tag", "-a", name, commit, "-m", "x")
    else:
        run_command(root, "git", "tag", name, "shop@v0.1.0^{commit}")
    found = read(root, "shop")
    assert [v.number for v in found.versions] == ["v0.1.0", "v0.2.0"]
    notes = [n for n in found.notes if name in n]
    assert any(part in notes[0] for part in said.split("|")), notes
    projects.set_rule(root, "{}")
    promote(root, "v0.1.0")
    assert stages(root) == {"production": "v0.1.0"}


def test_another_version_on_the_commit_of_production_does_not_move_it(root):
    projects.set_rule(root, "{}")
    promote(root, "v0.1.0")
    commit = projects.object_id(root, "shop@v0.1.0^{commit}")
    run_command(root, "git", "tag", "-a", "shop@v0.1.1", "-m", "Bundle: 00", commit)
    notes = []
    assert stages(root, notes) == {"production": "v0.1.0"}
    assert any("shop@v0.1.0, shop@v0.1.1 are on one commit" in n for n in notes)


def test_an_assignment_belongs_to_the_version_that_it_names(root):
    projects.set_rule(root, "{}")
    commit = projects.object_id(root, "shop@v0.1.0^{commit}")
    run_command(root, "git", "tag", "-a", "shop#production#1", commit, "-m", "x\n\nVersion: v0.2.0")
    run_command(root, "git", "tag", "-a", "shop#production#2", commit, "-m", "x\n\nVersion: v9.9.9")
    notes = []
    assert stages(root, notes) == {}
    assert any("names version v0.2.0, but points at another commit" in n for n in notes)
    assert any("names version v9.9.9, which is not registered" in n for n in notes)


def test_gtos_own_assignment_is_taken_where_its_commit_has_one_version(root):
    projects.set_rule(root, "{}")
    run_command(root, "gto", "assign", "shop", "--version", "v0.1.0", "--stage", "production")
    assert stages(root) == {"production": "v0.1.0"}
    commit = projects.object_id(root, "shop@v0.1.0^{commit}")
    run_command(root, "git", "tag", "-a", "shop@v0.1.1", "-m", "x", commit)
    notes = []
    assert stages(root, notes) == {}
    assert any("doesn't name its version, and its commit has v0.1.0, v0.1.1" in n for n in notes)


def test_a_far_date_of_an_assignment_is_not_passed_on(root):
    projects.set_rule(root, "{}")
    late = {"GIT_COMMITTER_DATE": "@200000000000 +0000"}
    assign(root, 1, **late)
    promote(root)
    assert stages(root) == {"production": "v0.2.0"}


def test_the_highest_number_is_a_sentence(root):
    projects.set_rule(root, "{}")
    assign(root, 10**18 - 1)
    with pytest.raises(NotProject, match="the highest number that an assignment may have"):
        promote(root)


def test_many_odd_tags_give_a_few_notes(root):
    for n in range(12):
        run_command(root, "git", "tag", f"shop@odd{n}", "HEAD")
    notes = []
    stages(root, notes)
    assert len(notes) == 6
    assert "7 more tags" in notes[-1]
