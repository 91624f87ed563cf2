"""Git signing: whether it is configured, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mlops_cli.errors import NotProject

if TYPE_CHECKING:
    from mlops_cli.project.git import Git

__all__ = ["signing_error", "signs_by_default"]


def signs_by_default(git: Git, kind: Literal["commit", "tag"]) -> bool:
    """Whether Git is set to sign every commit, or every annotated tag."""
    names = ["commit.gpgsign"] if kind == "commit" else ["tag.gpgsign", "tag.forceSignAnnotated"]
    return any(git.try_run("config", "--type=bool", "--get", name) == "true" for name in names)


def signing_error(git: Git, subject: str, stderr: str) -> NotProject:
    """The error for a failed signature, from Git's settings and its stderr."""
    kind, key = (
        git.try_run("config", "gpg.format") or "openpgp",
        git.try_run("config", "user.signingkey"),
    )
    lines = [line.strip() for line in stderr.splitlines() if "[GNUPG:]" not in line]
    reasons = "; ".join(text.removeprefix("error: ") for text in lines if text)
    which = f"the key {key!r} (user.signingkey)" if key else "no key named (user.signingkey)"
    return NotProject(
        f"{subject} can't be signed with gpg.format {kind} and {which}: {reasons}",
        "With SSH: git config gpg.format ssh; git config user.signingkey ~/.ssh/id_ed25519.pub. "
        "With GnuPG: git config gpg.format openpgp; git config user.signingkey KEY, one of "
        "`gpg --list-secret-keys`. docs/registry.md has more.",
    )
