"""An approval counts for its signer, for one version, stage and bundle."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import approval_projects as projects
import pytest
from approval_projects import (
    approve,
    promote,
    public_key,
    run_command,
    set_allowed_signers,
    signer_lines,
)

from mlops_cli.errors import ModelRefused, NotProject


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed")
    projects.create_keys(folder)
    return projects.create_project(folder)


@pytest.fixture
def root(template, tmp_path):
    return projects.copy_project(template, tmp_path)


def refusal(root, **options):
    with pytest.raises(ModelRefused) as caught:
        promote(root, **options)
    return caught.value.message


def test_two_people_with_their_own_keys_are_two(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    approve(root, "ann", key="ann")
    assert "has 1 of the 2 signed approvals" in refusal(root)
    approve(root, "bo", key="bo")
    assert promote(root).version.number == "v0.2.0"


def test_a_signature_of_an_unlisted_key_does_not_count(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    notes = []
    approve(root, "ann", key="mallory", notes=notes)
    approve(root, "bo", key="mallory")
    said = refusal(root)
    assert "has 0 of the 2" in said
    assert "no valid key of ann@example.org" in said
    assert "doesn't count in this clone" in notes[-1]


def test_one_key_for_two_people_counts_once(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    approve(root, "ann", key="ann")
    approve(root, "bo", key="ann")
    assert "has 1 of the 2" in refusal(root)


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (["*@example.org {ann}"], 0),
        (["* {ann}"], 0),
        (["???@example.org,b* {ann}"], 0),
        (["*@example.org {ann}", "ann@example.org {ann}"], 1),
        (["ann@example.org,bo@example.org {ann}"], 1),
        (["ann@example.org {ann}", "bo@example.org {ann}"], 1),
        (["ann@example.org {mallory}", "bo@example.org {mallory}"], 0),
        (['ann@example.org valid-before="20200101" {ann}'], 0),
        (['ann@example.org valid-before="20200101" {ann}', "*@example.org {ann}"], 0),
        (['ann@example.org valid-after="20990101" {ann}'], 0),
        (['ann@example.org namespaces="file" {ann}'], 0),
        (['ann@example.org namespaces="git,file" {ann}'], 1),
        (["!ann@example.org,* {ann}"], 0),
        (["# ann@example.org {ann}", ""], 0),
        (["ANN@Example.org {ann}"], 1),
    ],
)
def test_one_key_is_at_most_one_approver_and_only_of_an_address_it_is_listed_for(
    root, lines, count
):
    keys = {who: public_key(root.parent, who) for who in projects.PEOPLE}
    set_allowed_signers(root, *(line.format(**keys) for line in lines))
    for who in ("ann", "bo"):
        approve(root, who, key="ann")
    assert f"has {count} of the 2" in refusal(root)


def test_an_address_that_is_itself_a_pattern_is_nobodys(root):
    key = public_key(root.parent, "mallory")
    set_allowed_signers(root, f"*@example.org {key}", f"?o@example.org {key}")
    projects.set_rule(root, "{approvals: 1, signed: true}")
    for address in ("*@example.org", "?o@example.org"):
        approve(root, address, key="mallory")
    said = refusal(root)
    assert "has 0 of the 1" in said
    assert "with a pattern doesn't say who" in said


def test_two_keys_that_are_listed_for_the_same_people_are_one(root):
    names = "ann@example.org,bo@example.org"
    set_allowed_signers(
        root, *(f"{names} {public_key(root.parent, who)}" for who in ("ann", "mallory"))
    )
    approve(root, "ann", key="ann")
    approve(root, "bo", key="mallory")
    assert "has 1 of the 2" in refusal(root)


def test_a_backdated_signature_of_an_expired_key_does_not_count(root):
    set_allowed_signers(
        root, f'ann@example.org valid-before="20200101" {public_key(root.parent, "ann")}'
    )
    tag = "shop/approvals/v0.2.0/production/ann=example.org"
    message = f"yes\n\nBundle: {'2' * 64}\n"
    run_command(root, "git", "config", "user.signingkey", str(root.parent / "ann"))
    environment = {
        "GIT_COMMITTER_DATE": "@1500000000 +0000",
        "GIT_COMMITTER_EMAIL": "ann@example.org",
    }
    run_command(root, "git", "tag", "-s", "-m", message, tag, "shop@v0.2.0^{commit}", **environment)
    assert "has 0 of the 2" in refusal(root)


def test_a_revoked_key_does_not_count(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    for who in ("ann", "bo"):
        approve(root, who, key=who)
    revoked = root.parent / "revoked"
    run_command(root, "ssh-keygen", "-q", "-k", "-f", str(revoked), str(root.parent / "bo.pub"))
    run_command(root, "git", "config", "gpg.ssh.revocationFile", str(revoked))
    assert "has 1 of the 2" in refusal(root)


def test_a_certificate_counts_for_the_people_it_names(root):
    folder = root.parent
    projects.create_keys(folder, ("ca",))
    for who in ("ann", "bo"):
        sign = ("ssh-keygen", "-q", "-s", str(folder / "ca"), "-I", who)
        run_command(folder, *sign, "-n", f"{who}@example.org", str(folder / f"{who}.pub"))
    set_allowed_signers(root, f"*@example.org cert-authority {public_key(folder, 'ca')}")
    approve(root, "ann", key="ann-cert.pub")
    approve(root, "bo", key="ann-cert.pub")
    assert "has 1 of the 2" in refusal(root)
    approve(root, "bo", key="bo-cert.pub")
    promote(root)


def test_without_known_signers_nothing_counts_and_the_reason_is_said(root):
    run_command(root, "git", "config", "gpg.format", "ssh")
    approve(root, "ann", key="ann")
    said = refusal(root)
    assert "has 0 of the 2" in said
    assert "gpg.ssh.allowedSignersFile" in said


def test_an_approval_for_staging_is_none_for_production(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    for who in ("ann", "bo"):
        tag = approve(root, who, key=who, stage="staging")
        moved = tag.replace("/staging/", "/production/")
        run_command(root, "git", "update-ref", f"refs/tags/{moved}", projects.object_id(root, tag))
    assert "has 0 of the 2" in refusal(root)


@pytest.mark.parametrize("kind", ["version", "person", "nested", "renamed person"])
def test_an_approval_is_bound_to_version_and_person(root, kind):
    set_allowed_signers(root, *signer_lines(root.parent))
    approve(root, "ann", key="ann")
    own = "shop/approvals/v0.2.0/production/ann=example.org"
    other = "shop/approvals/v0.2.0/production/bo=example.org"
    if kind == "version":
        source = approve(root, "bo", key="bo", version="v0.1.0")
        run_command(
            root, "git", "update-ref", f"refs/tags/{other}", projects.object_id(root, source)
        )
    elif kind == "person":
        run_command(root, "git", "update-ref", f"refs/tags/{other}", projects.object_id(root, own))
    elif kind == "nested":
        run_command(root, "git", "config", "user.signingkey", str(root.parent / "bo"))
        environment = {"GIT_COMMITTER_EMAIL": "bo@example.org"}
        message = f"yes\n\nBundle: {'2' * 64}"
        run_command(root, "git", "tag", "-s", "-m", message, other, "shop@v0.2.0", **environment)
    else:
        run_command(root, "git", "config", "user.signingkey", str(root.parent / "ann"))
        environment = {"GIT_COMMITTER_EMAIL": "ann@example.org"}
        message = f"yes\n\nBundle: {'2' * 64}"
        commit = projects.object_id(root, "shop@v0.2.0^{commit}")
        run_command(root, "git", "tag", "-s", "-m", message, other, commit, **environment)
    assert "has 1 of the 2" in refusal(root)


def test_an_approval_ends_with_the_bundle_that_it_was_given_for(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    for who in ("ann", "bo"):
        approve(root, who, key=who)
    commit = projects.object_id(root, "shop@v0.2.0^{commit}")
    run_command(root, "git", "push", "-q", "origin", ":refs/tags/shop@v0.2.0")
    run_command(
        root, "git", "tag", "-f", "-a", "shop@v0.2.0", commit, "-m", f"x\n\nBundle: {'f' * 64}"
    )
    run_command(root, "git", "push", "-q", "origin", "refs/tags/shop@v0.2.0")
    said = refusal(root)
    assert "has 0 of the 2" in said
    assert "another bundle" in said


def test_a_squatted_name_keeps_nobody_from_approving(root):
    set_allowed_signers(root, *signer_lines(root.parent))
    for who in ("ann", "bo"):
        name = f"shop/approvals/v0.2.0/production/{who}=example.org"
        run_command(root, "git", "tag", name, "shop@v0.1.0")
        tag = approve(root, who, key=who)
        assert tag == f"{name}=2"
        assert approve(root, who, key=who) == tag, "again is nothing new"
    promote(root)


def test_unsigned_approvals_are_counted_by_address(tmp_path):
    root = projects.create_project(tmp_path, "{approvals: 2}")
    approve(root, "ann@example.org")
    approve(root, "Ann@Example.org")
    assert "has 1 of the 2 approvals" in refusal(root)
    approve(root, "cy@example.org")
    promote(root)


@pytest.mark.parametrize("kind", ["ssh", "openpgp"])
def test_signing_without_a_key_says_how_one_is_set_up(root, kind, tmp_path):
    run_command(root, "git", "config", "gpg.format", kind)
    run_command(root, "git", "config", "gpg.program", str(tmp_path / "nosuch"))
    with pytest.raises(NotProject) as caught:
        approve(root, "ann", key="nokey")
    run_command(root, "git", "config", "--unset", "user.signingkey")
    assert "nokey" in caught.value.message
    with (
        pytest.raises(NotProject) as caught,
        projects.git_identity(root, "ann@example.org"),
        projects.open_session(root) as one,
    ):
        projects.give_approval(one, "v0.2.0", "production", sign=True)
    message, hint = caught.value.message, caught.value.hint
    assert f"gpg.format {kind}" in message
    assert "user.name=" not in message
    assert re.search(r"gpg failed|user\.signingkey|cannot run|No such file", message)
    assert "git config gpg.format ssh" in hint
    assert "gpg --list-secret-keys" in hint
    assert caught.value.exit_code == 3


@pytest.mark.skipif(shutil.which("gpg") is None, reason="GnuPG isn't on every machine")
def test_gnupg_keys_count_for_their_valid_user_ids(root, tmp_path, monkeypatch):
    home = Path(tempfile.mkdtemp(prefix="gpg-"))  # a socket's path must be short
    monkeypatch.setenv("GNUPGHOME", str(home))
    gpg = ("gpg", "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
    try:
        fingerprints = {}
        for who in projects.PEOPLE:
            run_command(
                tmp_path, *gpg, "--quick-gen-key", f"{who} <{who}@example.org>", "ed25519", "sign"
            )
            listed = run_command(
                tmp_path, "gpg", "--with-colons", "--list-keys", f"{who}@example.org"
            )
            fingerprints[who] = listed.partition("\nfpr:")[2].split(":")[8]
        run_command(root, "git", "config", "gpg.format", "openpgp")

        def give(who, key, version="v0.2.0"):
            run_command(root, "git", "config", "user.signingkey", fingerprints[key])
            with (
                projects.git_identity(root, f"{who}@example.org"),
                projects.open_session(root) as one,
            ):
                return projects.give_approval(one, version, "production", sign=True)

        def trust(who, level):
            line = f"{fingerprints[who]}:{level}:\n".encode()
            subprocess.run(["gpg", "--quiet", "--import-ownertrust"], input=line, check=True)

        give("ann", "ann")
        give("bo", "mallory")
        assert "its key is of mallory@example.org, and not of bo" in refusal(root)
        trust("bo", 3)
        give("bo", "bo")
        assert "its key is of nobody whom the keyring trusts" in refusal(root)
        trust("bo", 6)
        promote(root)
        run_command(tmp_path, *gpg, "--quick-add-uid", fingerprints["ann"], "Bo <bo@example.org>")
        give("ann", "ann", "v0.1.0")
        give("bo", "ann", "v0.1.0")
        assert "has 1 of the 2" in refusal(root, version="v0.1.0"), "one key of two user IDs"
        run_command(tmp_path, *gpg, "--quick-set-expire", fingerprints["ann"], "seconds=1")
        deadline = time.monotonic() + 20
        listing = ("gpg", "--with-colons", "--list-keys", fingerprints["ann"])
        while "pub:e:" not in run_command(tmp_path, *listing) and time.monotonic() < deadline:
            time.sleep(0.2)
        said = refusal(root, version="v0.1.0")
        assert "has 0 of the 2" in said
        assert "a key that has expired" in said
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)
