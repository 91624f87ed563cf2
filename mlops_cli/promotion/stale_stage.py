"""Refuses changes of a stage that others have changed since the caller looked at it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from mlops_cli.errors import Busy
from mlops_cli.registry.tags import sort_key

if TYPE_CHECKING:
    from mlops_cli.registry.versions import Assignment, Registry, Version

__all__ = ["refuse_unseen"]


def refuse_unseen(
    registry: Registry,
    stage: str,
    known_tags: Collection[str],
    expected_version: str | None,
    version: Version | None = None,
) -> None:
    """Refuse to change a stage whose present version the caller may not know.

    Parameters
    ----------
    known_tags
        Names of the tags that this clone had when the command began.
    expected_version
        The version that the caller expects in the stage; None: ``known_tags`` decides.
    version
        The version to be promoted; None for a rollback. A newer version may follow older ones that
        the caller hasn't seen.

    Raises
    ------
    Busy
        If the stage has been changed.
    """
    current = registry.in_stage(stage)
    changes = [a for a in registry.assignments if a.stage == stage]
    if expected_version is not None:
        if current == registry.find(expected_version):
            return
        contrast = f"and not {expected_version}"
    else:
        seen_changes = [a for a in changes if a.tag.name in known_tags]
        last_seen = seen_changes[-1].version if seen_changes else None
        unseen_changes = [a for a in changes if a.tag.name not in known_tags]
        if current == last_seen or (
            version is not None and _is_newer_than_all(version, unseen_changes)
        ):
            return
        contrast = (
            f"and when this clone last looked it was {last_seen.number if last_seen else 'none'}"
        )
    author = (
        f", since {changes[-1].tag.tagger} changed it ({changes[-1].tag.name})" if changes else ""
    )
    number = current.number if current else "no version"
    command = f"mlops promote {version.number} --to {stage}" if version else "mlops rollback"
    option = f" --stage {stage}" if version is None and stage != "production" else ""
    raise Busy(
        f"{stage} has {number}{author}, {contrast}; nothing was done",
        "Look at `mlops models`"
        + (f", then decide again: {command}{option} --from {current.number}" if current else "."),
    )


def _is_newer_than_all(version: Version, changes: list[Assignment]) -> bool:
    """Whether a version is newer than all that these changes brought into its stage."""
    return all(
        a.version is not None
        and not a.rollback
        and sort_key(a.version.number) < sort_key(version.number)
        for a in changes
    )
