"""`mlops verify`: whether a version is what it claims to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Json, Remote, VersionArgument
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.registry.rebuild import RebuildResult
    from mlops_cli.registry.verify import VerificationCheck
    from mlops_cli.registry.versions import Assignment, Version

__all__ = ["verify"]

_NOTES = 5
"""Notes on the registry that are shown."""


def verify(
    version: VersionArgument,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Also run its pipeline again, and compare the results."),
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="With --rebuild: run it even if a check has failed.")
    ] = False,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Check a version's tag, record, bundle, code and data.

    VERSION may also be the tag of a promotion, such as shop#production#3. Exit code 4 means that a
    check has failed. With --rebuild, the pipeline runs again in a clean clone of the version's
    commit, and the results are compared. That runs the version's own commands, and so only happens
    if all checks have passed.

    Example: mlops verify production --rebuild
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.errors import MlopsError, Usage
    from mlops_cli.registry.rebuild import RebuildResult
    from mlops_cli.registry.rebuild import rebuild as run_again
    from mlops_cli.registry.verify import verify_version

    if anyway and not rebuild:
        raise Usage("--anyway is of use with --rebuild only", "Add it, or leave --anyway out.")
    layout, found, assignment = _named(version)
    with live_progress("verify", quiet=as_json) as progress:
        checks = verify_version(layout.root, found, remote, progress, assignment)
    if not as_json:
        _draw_checks(found, checks)
    failed = [check.name for check in checks if not check.passed]
    again = None
    if rebuild and failed and not anyway:
        why = f"nothing was run, as checks failed ({', '.join(failed)}); --anyway runs it"
        again = RebuildResult("not reproduced", why, {})
        if not as_json:
            _draw_rebuilt(again)
    elif rebuild:
        with live_progress("rebuild", quiet=as_json) as progress:
            try:
                again = run_again(layout.root, found, remote, progress)
            except MlopsError as error:
                again = RebuildResult("not reproduced", error.message, {})
        if not as_json:
            _draw_rebuilt(again)
    passed = not failed and (again is None or again.verdict != "not reproduced")
    if as_json:
        console.draw_json(_plain(found, checks, again, passed=passed))
    if not passed:
        raise typer.Exit(4)


def _named(text: str) -> tuple[Layout, Version, Assignment | None]:
    """A version as its name says, also where it is in its stage against the rules."""
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.approvals.stage_rules import named_assignment
    from mlops_cli.registry.git_tags import read

    layout, params = open_project()
    registry = read(layout.root, params.register_.name)
    for note in registry.notes[:_NOTES]:
        console.draw_note(note)
    if "#" not in text:
        return layout, registry.find(text), None
    assignment = named_assignment(registry, text)
    return layout, assignment.version or registry.find(text), assignment


def _draw_checks(version: Version, checks: tuple[VerificationCheck, ...]) -> None:
    from mlops_cli.reporting import Table

    rows = tuple((c.name, "passed" if c.passed else "FAILED", c.said) for c in checks)
    console.draw_table(Table(version.label, ("check", "verdict", "why"), rows))
    failed = sum(not check.passed for check in checks)
    out = console.console()
    if failed:
        out.print(f"[bold red]refused[/bold red]: {failed} of {len(checks)} checks failed")
    else:
        out.print(f"[bold green]verified[/bold green]: all {len(checks)} checks passed")


def _draw_rebuilt(again: RebuildResult) -> None:
    from mlops_cli.reporting import Table

    if again.metrics and again.verdict != "reproduced to the byte":
        rows = tuple(
            (m.metric, m.stated, f"[{m.low:.4g}, {m.high:.4g}]", m.again, m.inside)
            for m in again.metrics
        )
        columns = ("metric", "stated", "interval", "again", "inside")
        console.draw_table(Table("metrics", columns, rows))
    if again.libraries:
        console.draw_table(Table("libraries", ("library", "then", "now"), again.libraries))
    colour = {"reproduced to the byte": "green", "not reproduced": "red"}.get(
        again.verdict, "yellow"
    )
    said = console.line(again.said)
    console.console().print(f"[bold {colour}]{again.verdict}[/bold {colour}]: {said}")


def _plain(
    version: Version,
    checks: tuple[VerificationCheck, ...],
    again: RebuildResult | None,
    *,
    passed: bool,
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
