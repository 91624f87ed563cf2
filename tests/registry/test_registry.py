"""Versions, stages and approvals in real Git repositories, through the command line."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_projects import (
    change_seed,
    clone_project,
    create_project,
    mlops,
    repository_state,
    run_command,
)

from mlops_cli.registry.git_tags import read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with the versions v0.1.0 and v0.2.0, as the clone of Ann."""
    root = create_project(tmp_path_factory.mktemp("registry") / "shop")
    for seed in (1, 2):
        change_seed(root, seed)
        run_command(root, "mlops", "register", "-m", f"seed {seed}")
    return root


@pytest.fixture
def ann(made, tmp_path):
    """Her clone and a remote of its own, for one test."""
    remote, root = tmp_path / "shop.git", tmp_path / "shop"
    origin = made.with_name("shop.git")
    run_command(tmp_path, "git", "clone", "--quiet", "--mirror", str(origin), str(remote))
    run_command(tmp_path, "git", "clone", "--quiet", str(remote), str(root))
    run_command(root, "git", "config", "user.name", "Ann")
    run_command(root, "git", "config", "user.email", "ann@example.org")
    run_command(root, "dvc", "config", "--local", "cache.dir", str(made / ".dvc" / "cache"))
    run_command(root, "dvc", "checkout", "--quiet")
    return root


def stages(root):
    return {s: v.number for s, v in read(root, "shop").stages().items()}


def refused(root, code, *arguments, **environment):
    """Run a command that has to be refused, and leave everything as it was; give its words."""
    before = repository_state(root)
    result = mlops(root, *arguments, **environment)
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert repository_state(root) == before
    return " ".join(result.stderr.split())


def test_gto_and_the_remote_see_the_versions(made):
    shown = json.loads(run_command(made, "gto", "show", "shop", "--json"))
    assert [v["version"] for v in shown] == ["v0.2.0", "v0.1.0"]
    remote = run_command(made, "git", "ls-remote", "--tags", "origin")
    assert "refs/tags/shop@v0.1.0^{}" in remote
    assert run_command(made, "git", "rev-parse", "main") == run_command(
        made, "git", "rev-parse", "origin/main"
    )


def test_the_same_bundle_is_registered_once(ann):
    before = repository_state(ann)
    result = mlops(ann, "register", "--json")
    assert json.loads(result.stdout)["new"] is False
    assert json.loads(result.stdout)["version"] == "shop@v0.2.0"
    assert repository_state(ann) == before


def test_the_users_other_work_stays_as_it_is(ann):
    (ann / "notes.md").write_text("staged")
    run_command(ann, "git", "add", "notes.md")
    (ann / "scratch.txt").write_text("untracked")
    run_command(change_seed(ann, 3), "mlops", "register", "--patch")
    assert read(ann, "shop").latest.number == "v0.2.1"
    assert run_command(ann, "git", "status", "--porcelain") == "A  notes.md\n?? scratch.txt\n"
    changed = run_command(ann, "git", "show", "--name-only", "--format=", "HEAD").split()
    assert changed == [
        "dvc.lock",
        "models/registration.json",
        "params.yaml",
        "reports/metrics.json",
    ]


def test_edits_that_the_model_was_not_made_with_are_refused_by_name(ann):
    text = (ann / "params.yaml").read_text()
    (ann / "params.yaml").write_text(text.replace("staging: {}", "staging: {}\n    canary: {}"))
    said = refused(change_seed(ann, 3), 3, "register")
    assert "params.yaml: register.stages.canary" in said


def test_code_that_no_commit_holds_is_refused_by_name(ann):
    with (ann / "make.py").open("a") as file:
        file.write("# edited\n")
    result = mlops(change_seed(ann, 3), "register")
    assert result.returncode == 3
    assert "make.py" in result.stderr
    assert read(ann, "shop").latest.number == "v0.2.0"


def test_a_half_staged_file_is_refused_by_name(ann):
    change_seed(ann, 3)
    run_command(ann, "git", "add", "params.yaml")
    said = mlops(change_seed(ann, 4), "register")
    assert said.returncode == 3
    assert "params.yaml (staged, then changed)" in " ".join(said.stderr.split())


def test_a_rejected_model_gets_its_gates_and_exit_code_5(ann):
    text = (ann / "params.yaml").read_text()
    (ann / "params.yaml").write_text(text.replace("gates: {}", "gates: {limits: {mae: 0.5}}"))
    result = mlops(ann, "register")
    assert result.returncode == 5
    assert "limits.mae" in result.stdout
    assert "the gates reject this model of shop" in result.stderr


def test_promotion_and_rollback(ann):
    run_command(ann, "mlops", "promote", "v0.1.0", "--to", "production", "-m", "go")
    run_command(ann, "mlops", "promote", "latest", "--to", "production")
    assert stages(ann) == {"production": "v0.2.0"}
    run_command(ann, "mlops", "rollback", "-m", "false alarms")
    assert stages(ann) == {"production": "v0.1.0"}
    last = read(ann, "shop").assignments[-1]
    assert (last.tag.name, last.tag.body) == ("shop#production#3", "false alarms")
    assert "no earlier version" in refused(ann, 7, "rollback")
    shown = json.loads(run_command(ann, "gto", "show", "--json"))
    assert shown["shop"]["stage"]["production"] == "v0.1.0"


@pytest.fixture
def bo(ann, made):
    """Another's clone, that has seen v0.2.0 replace v0.1.0 in production."""
    for version in ("v0.1.0", "v0.2.0"):
        run_command(ann, "mlops", "promote", version, "--to", "production")
    other = clone_project(ann, ann.with_name("bo"), "bo")
    run_command(other, "dvc", "config", "--local", "cache.dir", str(made / ".dvc" / "cache"))
    return other


def test_of_two_simultaneous_rollbacks_one_takes_effect(ann, bo):
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda root: mlops(root, "rollback"), (ann, bo)))
    assert sorted(r.returncode for r in results) == [0, 8]
    run_command(ann, "git", "fetch", "--quiet", "--tags")
    assert stages(ann) == {"production": "v0.1.0"}


def test_a_rollback_goes_from_the_version_that_the_caller_saw(ann, bo):
    run_command(change_seed(ann, 3), "mlops", "register")
    run_command(ann, "mlops", "promote", "latest", "--to", "production")
    run_command(bo, "git", "fetch", "--quiet", "--tags")
    run_command(ann, "mlops", "rollback")
    result = mlops(bo, "rollback")
    assert result.returncode == 8
    said = " ".join(result.stderr.split())
    assert "production has v0.2.0, since Ann <ann@example.org> changed it" in said
    assert "when this clone last looked it was v0.3.0; nothing was done" in said
    assert "mlops rollback --from v0.2.0" in said
    assert "and not v0.3.0" in refused(bo, 8, "rollback", "--from", "v0.3.0")
    assert "nothing to do" in run_command(bo, "mlops", "rollback", "--to", "v0.2.0")
    run_command(bo, "mlops", "rollback", "--from", "v0.2.0")
    assert stages(bo) == {"production": "v0.1.0"}


def test_a_promotion_does_not_undo_a_rollback_that_the_caller_has_not_seen(ann, bo):
    run_command(bo, "mlops", "rollback")
    result = mlops(ann, "promote", "v0.2.0", "--to", "production")
    assert result.returncode == 8
    said = " ".join(result.stderr.split())
    assert "production has v0.1.0, since Bo <bo@example.org> changed it" in said
    run_command(ann, "mlops", "promote", "v0.2.0", "--to", "production", "--from", "v0.1.0")
    assert stages(ann) == {"production": "v0.2.0"}


def test_promoting_what_is_there_already_does_nothing(ann):
    run_command(ann, "mlops", "promote", "v0.1.0", "--to", "staging")
    before = repository_state(ann)
    told = json.loads(run_command(ann, "mlops", "promote", "v0.1.0", "--to", "staging", "--json"))
    assert told["new"] is False
    assert repository_state(ann) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "v0.3.0", "--to", "production"], "Did you mean 'v0.2.0'?"),
        (["promote", "v0.2.0", "--to", "prodution"], "Did you mean 'production'?"),
        (["promote", "other@v0.2.0", "--to", "production"], "The model here is 'shop'."),
        (["rollback", "--to", "v0.1.0"], "has never been in production"),
        (["models", "show", "v9.9.9"], "has no version or stage 'v9.9.9'"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest(ann, arguments, said):
    assert said in refused(ann, 7, *arguments)


def test_a_stage_asks_for_the_stage_before_and_for_approvals(ann):
    run_command(ann, "git", "config", "user.email", "bo@example.org")
    guarded = ("promote", "v0.2.0", "--to", "guarded")
    assert "has not been in staging" in refused(ann, 5, *guarded)
    run_command(ann, "mlops", "promote", "v0.2.0", "--to", "staging")
    assert "has 0 of the 1 approvals" in refused(ann, 5, *guarded)
    run_command(ann, "git", "config", "user.email", "eve@example.org")
    said = refused(ann, 5, "approve", "v0.2.0", "--for", "guarded")
    assert "eve@example.org is not among those who approve" in said
    run_command(ann, "git", "config", "user.email", "cy@example.org")
    run_command(ann, "mlops", "approve", "v0.2.0", "--for", "guarded", "-m", "looks right")
    run_command(ann, "mlops", *guarded)
    assert stages(ann)["guarded"] == "v0.2.0"


def test_a_forged_approval_of_an_approver_counts_only_for_its_commit(ann):
    run_command(ann, "mlops", "promote", "v0.2.0", "--to", "staging")
    other = run_command(ann, "git", "rev-parse", "shop@v0.1.0^{commit}").strip()
    tag = "shop/approvals/v0.2.0/guarded/bo=example.org"
    run_command(ann, "git", "-c", "user.email=bo@example.org", "tag", "-m", "yes", tag, other)
    assert "has 0 of the 1" in refused(ann, 5, "promote", "v0.2.0", "--to", "guarded")


def test_signed_approvals_are_checked(ann, tmp_path):
    key = tmp_path / "key"
    run_command(tmp_path, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "allowed").write_text(f"cy@example.org {public}")
    text = (ann / "params.yaml").read_text()
    (ann / "params.yaml").write_text(text.replace("after: staging, ", "signed: true, "))
    run_command(ann, "git", "commit", "-qam", "Signed approvals")
    run_command(ann, "git", "push", "-q")
    for name, value in {
        "user.email": "cy@example.org",
        "gpg.format": "ssh",
        "user.signingkey": str(key),
        "gpg.ssh.allowedSignersFile": str(tmp_path / "allowed"),
    }.items():
        run_command(ann, "git", "config", name, value)
    run_command(ann, "mlops", "approve", "v0.1.0", "--for", "guarded")
    assert "has 0 of the 1 signed" in refused(ann, 5, "promote", "v0.1.0", "--to", "guarded")
    run_command(ann, "mlops", "approve", "v0.2.0", "--for", "guarded", "--sign")
    run_command(ann, "git", "verify-tag", "shop/approvals/v0.2.0/guarded/cy=example.org")
    run_command(ann, "mlops", "promote", "v0.2.0", "--to", "guarded")


def test_a_repository_that_cannot_take_a_version_says_why(ann, tmp_path):
    change_seed(ann, 3)
    run_command(ann, "mlops", "run")
    run_command(ann, "git", "checkout", "--quiet", "--detach")
    assert "HEAD is detached" in refused(ann, 3, "register")
    run_command(ann, "git", "checkout", "--quiet", "main")
    run_command(ann, "git", "config", "--unset", "user.email")
    nobody = {"GIT_CONFIG_GLOBAL": str(tmp_path / "none"), "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("GIT_COMMITTER_EMAIL", "GIT_AUTHOR_EMAIL", "EMAIL"):
        nobody[name] = ""
    assert "Git doesn't know who you are" in refused(ann, 3, "register", **nobody)


def test_a_shallow_clone_is_refused(ann, tmp_path, made):
    remote = ann.with_name("shop.git")
    shallow = tmp_path / "shallow"
    run_command(
        tmp_path, "git", "clone", "--quiet", "--depth", "1", f"file://{remote}", str(shallow)
    )
    run_command(shallow, "dvc", "config", "--local", "cache.dir", str(made / ".dvc" / "cache"))
    said = refused(shallow, 3, "register")
    assert "git fetch --unshallow" in said


def test_a_diverged_remote_is_explained_and_nothing_is_done(ann, tmp_path, made):
    other = tmp_path / "bo"
    run_command(tmp_path, "git", "clone", "--quiet", str(ann.with_name("shop.git")), str(other))
    run_command(
        other,
        "git",
        "-c",
        "user.name=B",
        "-c",
        "user.email=b@c",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "Meanwhile",
    )
    run_command(other, "git", "push", "--quiet")
    run_command(change_seed(ann, 3), "mlops", "run")
    said = refused(ann, 8, "register")
    assert "has commits that are not here" in said
    assert "mlops pull" in said


def test_a_remote_that_is_gone_is_said_and_local_does_without(ann):
    run_command(ann, "git", "remote", "set-url", "origin", str(ann / "nowhere.git"))
    said = refused(ann, 6, "promote", "v0.1.0", "--to", "production")
    assert "'origin' cannot be reached" in said
    run_command(ann, "mlops", "promote", "v0.1.0", "--to", "production", "--local")
    assert stages(ann) == {"production": "v0.1.0"}


def test_a_tag_on_a_commit_without_a_model_is_said(ann):
    first = run_command(ann, "git", "rev-list", "--max-parents=0", "HEAD").strip()
    run_command(ann, "git", "tag", "-m", "by hand", "shop@v0.3.0", first)
    assert "holds no registered model" in refused(ann, 7, "models", "show", "v0.3.0")


def test_models_lists_newest_first_with_its_reason(ann):
    run_command(ann, "mlops", "promote", "v0.1.0", "--to", "production")
    listed = json.loads(run_command(ann, "mlops", "models", "--json"))["versions"]
    assert [(v["version"], v["stages"], v["why"]) for v in listed] == [
        ("v0.2.0", [], "seed 2"),
        ("v0.1.0", ["production"], "seed 1"),
    ]
    assert "seed 2" in run_command(ann, "mlops", "models")


def test_a_long_reason_fills_no_more_than_its_part_of_the_table(ann):
    why = "Retrained up to 2026-01-02: monitor found drift: " + "amount is distributed; " * 20
    run_command(change_seed(ann, 3), "mlops", "register", "-m", why)
    table = " ".join(run_command(ann, "mlops", "models").split())
    assert "monitor found drift: amount is ..." in table
    assert "distributed" not in table
    tree = run_command(ann, "mlops", "models", "show", "v0.3.0", "--short")
    shown = " ".join(tree.replace("│", " ").split())
    assert why.strip() in shown
    assert "pipeline" not in shown


def test_versions_and_stages_are_compared_by_their_names(ann):
    run_command(ann, "mlops", "promote", "v0.1.0", "--to", "production")
    found = json.loads(run_command(ann, "mlops", "compare", "production", "v0.2.0", "--json"))
    assert found == json.loads(
        run_command(ann, "mlops", "models", "diff", "v0.1.0", "v0.2.0", "--json")
    )
    assert "there is no revision 'v0.9.0'" in refused(ann, 7, "compare", "v0.9.0")


def test_show_leads_back_to_parameters_inputs_and_machine(ann):
    found = json.loads(run_command(ann, "mlops", "models", "show", "v0.1.0", "--json"))
    assert found["params"]["project.seed"] == 1
    assert found["inputs"].keys() == {"make.py", "fixed"}
    assert found["registered"]["with"].startswith("mlops-cli ")
    assert "mae" in run_command(ann, "mlops", "models", "show", "v0.1.0")


def test_diff_names_the_parameter_that_changed(ann):
    told = run_command(ann, "mlops", "models", "diff", "v0.1.0", "v0.2.0")
    assert "project.seed" in told
    assert "mae" in told
