"""`mlops models pull`, `mlops verify`, `mlops push` and `mlops pull`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.core.versions import Assignment, Version
    from mlops_cli.layout import Layout
    from mlops_cli.live.exchange import Moved
    from mlops_cli.live.proving import Check
    from mlops_cli.live.rebuilding import Rebuilt

__all__ = ["bundle", "pull", "push", "verify"]

Named = Annotated[
    str,
    typer.Argument(metavar="VERSION", help="Such as v0.2.0, latest, production, or a tag."),
]
Remote = Annotated[
    str | None, typer.Option("--remote", "-r", help="The DVC remote; by default the default one.")
]
_NOTES = 5
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON, and nothing else.")]


def bundle(
    version: Named,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder; by default .mlops/models/NAME@VERSION."),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Fetch a version's bundle by its hash; the workspace stays as it is.

    Example: mlops models pull production -o model
    """
    from mlops_cli.cli.progress import shown
    from mlops_cli.store.delivery import pull_bundle

    into = None if output is None else output.resolve()
    from mlops_cli.live.stage_rules import find_trusted

    layout, name = _project()
    found = find_trusted(layout.root, name, version, drawing.draw_note)
    with shown("pull", quiet=as_json) as progress:
        folder = pull_bundle(layout.root, found, into, remote, progress)
    if as_json:
        drawing.draw_json({"version": found.label, "folder": str(folder), "bundle": found.bundle})
    else:
        drawing.console().print(f"{found.label} is in {folder}", markup=False)


def verify(
    version: Named,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Also run its pipeline again, and compare.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="With --rebuild: also where a check has failed.")
    ] = False,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Prove what a version claims: tag, record, bundle, code and data.

    Ends with exit code 4 if a check has not passed. With --rebuild, the pipeline runs again in a
    clean clone of the version's commit, and what comes out is compared. That runs the version's
    own commands, so it is only done if all checks have passed.

    Example: mlops verify production --rebuild
    """
    from mlops_cli.cli.progress import shown
    from mlops_cli.errors import MlopsError, Usage
    from mlops_cli.live.proving import prove
    from mlops_cli.live.rebuilding import Rebuilt
    from mlops_cli.live.rebuilding import rebuild as run_again

    if anyway and not rebuild:
        raise Usage("--anyway is of use with --rebuild only", "Add it, or leave --anyway out.")
    layout, found, assignment = _named(version)
    with shown("verify", quiet=as_json) as progress:
        checks = prove(layout.root, found, remote, progress, assignment)
    if not as_json:
        _draw_checks(found, checks)
    failed = [check.name for check in checks if not check.passed]
    again = None
    if rebuild and failed and not anyway:
        why = f"nothing was run, as checks failed ({', '.join(failed)}); --anyway runs it"
        again = Rebuilt("not reproduced", why, {})
        if not as_json:
            _draw_rebuilt(again)
    elif rebuild:
        with shown("rebuild", quiet=as_json) as progress:
            try:
                again = run_again(layout.root, found, remote, progress)
            except MlopsError as error:
                again = Rebuilt("not reproduced", error.message, {})
        if not as_json:
            _draw_rebuilt(again)
    passed = not failed and (again is None or again.verdict != "not reproduced")
    if as_json:
        drawing.draw_json(_plain(found, checks, again, passed=passed))
    if not passed:
        raise typer.Exit(4)


def push(remote: Remote = None, as_json: Json = False) -> None:
    """Send data, then branch and registry tags, to the DVC and Git remotes.

    Example: mlops push
    """
    from mlops_cli.cli.progress import shown
    from mlops_cli.live.exchange import push as send

    layout, name = _project()
    with shown("push", quiet=as_json) as progress:
        moved = send(layout.root, name, remote, progress)
    _draw_moved("pushed", "to", moved, as_json=as_json)


def pull(
    rebase: Annotated[
        bool,
        typer.Option(
            "--rebase",
            help="Put your edits and commits on top; what the pipeline makes is dropped.",
        ),
    ] = False,
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer",
            metavar="mine|theirs",
            help="With --rebase: whose lines count where both sides changed the same ones.",
        ),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Bring branch, registry tags and data from the Git and DVC remotes.

    The branch is only moved forward. Nothing is changed where it has diverged, or where files
    that only you have would be overwritten.

    With --rebase, which is for a registration that somebody else was faster with, your edits
    (params.yaml, code, what is staged) and your commits come on top of what the remote has.
    dvc.lock, reports and models/registration.json are taken from there: the next run makes them
    anew. What was here before stays in refs/mlops/before-pull (git stash apply REF).

    Example: mlops pull --rebase
    """
    from mlops_cli.cli.progress import shown
    from mlops_cli.errors import Usage
    from mlops_cli.live.exchange import pull as bring
    from mlops_cli.live.exchange import pull_rebased

    if prefer is not None and (not rebase or prefer not in {"mine", "theirs"}):
        raise Usage(
            f"--prefer {prefer} is not one of mine and theirs, with --rebase",
            "mlops pull --rebase --prefer mine",
        )
    layout, name = _project()
    with shown("pull", quiet=as_json) as progress:
        if rebase:
            moved = pull_rebased(layout.root, name, remote, prefer, progress)  # type: ignore[arg-type]
        else:
            moved = bring(layout.root, name, remote, progress)
    _draw_moved("pulled", "from", moved, as_json=as_json)


def _project() -> tuple[Layout, str]:
    from mlops_cli import params as parameters
    from mlops_cli.cli.project import find

    layout = find()
    return layout, parameters.load(layout.params).register_.name


def _named(text: str) -> tuple[Layout, Version, Assignment | None]:
    """A version as its name says, also where it is in its stage against the rules."""
    from mlops_cli.live.stage_rules import named_assignment
    from mlops_cli.store.registry import read

    layout, name = _project()
    registry = read(layout.root, name)
    for note in registry.notes[:_NOTES]:
        drawing.draw_note(note)
    if "#" not in text:
        return layout, registry.find(text), None
    assignment = named_assignment(registry, text)
    return layout, assignment.version or registry.find(text), assignment


def _draw_checks(version: Version, checks: tuple[Check, ...]) -> None:
    from mlops_cli.reporting import Table

    rows = tuple((c.name, "passed" if c.passed else "FAILED", c.said) for c in checks)
    drawing.draw_table(Table(version.label, ("check", "verdict", "why"), rows))
    failed = sum(not check.passed for check in checks)
    out = drawing.console()
    if failed:
        out.print(f"[bold red]refused[/bold red]: {failed} of {len(checks)} checks failed")
    else:
        out.print(f"[bold green]verified[/bold green]: all {len(checks)} checks passed")


def _draw_rebuilt(again: Rebuilt) -> None:
    from mlops_cli.reporting import Table

    if again.metrics and again.verdict != "reproduced to the byte":
        rows = tuple(
            (m.metric, m.stated, f"[{m.low:.4g}, {m.high:.4g}]", m.again, m.inside)
            for m in again.metrics
        )
        columns = ("metric", "stated", "interval", "again", "inside")
        drawing.draw_table(Table("metrics", columns, rows))
    if again.libraries:
        drawing.draw_table(Table("libraries", ("library", "then", "now"), again.libraries))
    colour = {"reproduced to the byte": "green", "not reproduced": "red"}.get(
        again.verdict, "yellow"
    )
    said = drawing.line(again.said)
    drawing.console().print(f"[bold {colour}]{again.verdict}[/bold {colour}]: {said}")


def _plain(
    version: Version, checks: tuple[Check, ...], again: Rebuilt | None, *, passed: bool
) -> dict[str, Any]:
    rebuilt = None
    if again is not None:
        rebuilt = {
            **vars(again),
            "metrics": [{**vars(m), "inside": m.inside} for m in again.metrics],
        }
    return {
        "version": version.label,
        "commit": version.commit,
        "passed": passed,
        "checks": [vars(check) for check in checks],
        "rebuild": rebuilt,
    }


def _draw_moved(did: str, way: str, moved: Moved, *, as_json: bool) -> None:
    if as_json:
        drawing.draw_json(vars(moved))
        return
    out = drawing.console()
    parts = []
    if moved.files:
        parts.append(f"{moved.files} files of data ({_size(moved.bytes)}) {way} {moved.data}")
    if moved.branch:
        parts.append(f"{moved.branch} {way} {moved.git}")
    if moved.tags:
        tags = f"{len(moved.tags)} tag{'s' if moved.tags[1:] else ''}"
        parts.append(f"{tags} {way} {moved.git}: {', '.join(moved.tags)}")
    for part in parts:
        out.print(f"{did} {part}", markup=False)
    if not parts:
        out.print("nothing to do: all is there already")
    for part in _own_work(moved):
        out.print(part, markup=False)
    if moved.missing:
        some = ", ".join(moved.missing[:5]) + (", ..." if moved.missing[5:] else "")
        out.print(
            f"  ! {len(moved.missing)} files or folders of data are nowhere to be had: {some}; "
            "`mlops run` makes what a stage makes",
            markup=False,
        )


def _own_work(moved: Moved) -> list[str]:
    """What became of one's own edits and commits, a sentence each."""
    told = []
    if moved.commits:
        told.append(
            f"on top of it: {moved.commits} commit{'s' if moved.commits > 1 else ''} of yours"
        )
    if moved.kept:
        told.append(f"your edits are kept: {_some(moved.kept)}")
    if moved.decided:
        told.append(f"  ! both sides had changed the same lines: {_some(moved.decided)}")
    if moved.dropped:
        told.append(f"dropped, as the pipeline makes it: {_some(moved.dropped)}")
    if moved.commits or moved.kept or moved.dropped:
        told.append("next: mlops run, or mlops register")
    return told


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NOTES]) + (
        f" and {len(names) - _NOTES} more" if names[_NOTES:] else ""
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"  # noqa: PLR2004
