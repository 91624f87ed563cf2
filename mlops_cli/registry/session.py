"""Locked access of one command to a project's registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.project.git import Git
from mlops_cli.project.locks import wait_for_lock
from mlops_cli.registry import commit_outputs
from mlops_cli.registry.approvals.stage_rules import read_trusted
from mlops_cli.registry.git_tags import fetch

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.versions import Registry

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """Locked access of one command to a project's registry.

    Attributes
    ----------
    remote
        The Git remote that must accept every change; None: changes stay in this clone.
    note
        Called with messages for the user.
    known_tags
        Names of the tags in this clone when the command began: those that its user could know.
    """

    params: Params
    layout: Layout
    git: Git
    remote: str | None
    note: Callable[[str], None] = lambda _: None
    known_tags: frozenset[str] = frozenset()

    @classmethod
    @contextmanager
    def open(
        cls,
        params: Params,
        layout: Layout,
        *,
        local: bool = False,
        will_commit: bool = False,
        note: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Session]:
        """Wait for other registry commands of this clone, then fetch the remote's tags.

        With ``will_commit``, raise first if no version can be committed in this repository.
        """
        git = Git(layout.root)
        if will_commit:
            commit_outputs.require_branch(git)
            if (layout.root / "dvc.lock").is_file():
                commit_outputs.require_clean_workspace(git, commit_outputs.pipeline_files(layout))
        # Before waiting: another command of this clone may be changing them.
        known_tags = frozenset((git.try_run("tag", "--list") or "").splitlines())
        with wait_for_lock(layout.work / "registry.lock", note):
            remote = None if local else git.remote()
            fetch(git, remote)
            read_trusted(layout.root, params.register_.name, note)
            yield cls(params, layout, git, remote, note, known_tags)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.params.register_.name

    def registry(self) -> Registry:
        """Read the registry, with only the assignments that comply with the stage rules."""
        return read_trusted(self.layout.root, self.name)
