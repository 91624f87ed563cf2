"""A stage that others have changed since the caller looked at it."""

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
    seen: Collection[str],
    since: str | None,
    version: Version | None = None,
) -> None:
    """Refuse to change a stage that holds something else than the caller could know.

    Parameters
    ----------
    seen
        Names of the tags that this clone had when the command began.
    since
        The version that the caller says is in the stage; None: ``seen`` decides.
    version
        The version to be promoted; None for a rollback. A newer version may follow older ones
        that the caller hasn't seen.

    Raises
    ------
    Busy
        If the stage has been changed.
    """
    held = registry.in_stage(stage)
    changes = [a for a in registry.assignments if a.stage == stage]
    if since is not None:
        if held == registry.find(since):
            return
        but = f"and not {since}"
    else:
        known = [a for a in changes if a.tag.name in seen]
        before = known[-1].version if known else None
        unseen = [a for a in changes if a.tag.name not in seen]
        if held == before or (version is not None and _leads_up_to(version, unseen)):
            return
        but = f"and when this clone last looked it was {before.number if before else 'none'}"
    by = f", since {changes[-1].tag.who} changed it ({changes[-1].tag.name})" if changes else ""
    now = held.number if held else "no version"
    command = f"mlops promote {version.number} --to {stage}" if version else "mlops rollback"
    named = f" --stage {stage}" if version is None and stage != "production" else ""
    raise Busy(
        f"{stage} has {now}{by}, {but}; nothing was done",
        "Look at `mlops models`"
        + (f", then decide anew: {command}{named} --from {held.number}" if held else "."),
    )


def _leads_up_to(version: Version, changes: list[Assignment]) -> bool:
    """Whether a version is newer than all that came into its stage by these changes."""
    return all(
        a.version is not None
        and not a.rollback
        and sort_key(a.version.number) < sort_key(version.number)
        for a in changes
    )
