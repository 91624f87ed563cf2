"""`mlops verify`: check a version's tag, record, bundle, code and data."""

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

_MAX_NOTES = 5
"""Maximum number of notes on the registry that are printed."""


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
    layout, tagged, assignment = _find_version(version)
    with live_progress("verify", quiet=as_json) as progress:
        checks = verify_version(layout.root, tagged, remote, progress, assignment)
    if not as_json:
        _draw_checks(tagged, checks)
    failed = [check.name for check in checks if not check.passed]
    rebuilt = None
    if rebuild and failed and not anyway:
        reason = f"nothing was run, as checks failed ({', '.join(failed)}); --anyway runs it"
        rebuilt = RebuildResult("not reproduced", reason, {})
        if not as_json:
            _draw_rebuilt(rebuilt)
    elif rebuild:
        with live_progress("rebuild", quiet=as_json) as progress:
            try:
                rebuilt = run_again(layout.root, tagged, remote, progress)
            except MlopsError as error:
                rebuilt = RebuildResult("not reproduced", error.message, {})
        if not as_json:
            _draw_rebuilt(rebuilt)
    passed = not failed and (rebuilt is None or rebuilt.verdict != "not reproduced")
    if as_json:
        console.draw_json(_plain(tagged, checks, rebuilt, passed=passed))
    if not passed:
        raise typer.Exit(4)


def _find_version(text: str) -> tuple[Layout, Version, Assignment | None]:
    """Find a version by its name, also if its stage assignment breaks the rules."""
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.approvals.stage_rules import named_assignment
    from mlops_cli.registry.git_tags import read

    layout, params = open_project()
    registry = read(layout.root, params.register_.name)
    for note in registry.notes[:_MAX_NOTES]:
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


def _draw_rebuilt(result: RebuildResult) -> None:
    from mlops_cli.reporting import Table

    if result.metrics and result.verdict != "reproduced to the byte":
        rows = tuple(
            (m.metric, m.stated, f"[{m.low:.4g}, {m.high:.4g}]", m.again, m.in_interval)
            for m in result.metrics
        )
        columns = ("metric", "stated", "interval", "again", "inside")
        console.draw_table(Table("metrics", columns, rows))
    if result.libraries:
        console.draw_table(Table("libraries", ("library", "then", "now"), result.libraries))
    colour = {"reproduced to the byte": "green", "not reproduced": "red"}.get(
        result.verdict, "yellow"
    )
    message = console.line(result.said)
    console.console().print(f"[bold {colour}]{result.verdict}[/bold {colour}]: {message}")


def _plain(
    version: Version,
    checks: tuple[VerificationCheck, ...],
    result: RebuildResult | None,
    *,
    passed: bool,
) -> dict[str, Any]:
    rebuilt = None
    if result is not None:
        rebuilt = {
            **vars(result),
            "metrics": [{**vars(m), "inside": m.in_interval} for m in result.metrics],
        }
    return {
        "version": version.label,
        "commit": version.commit,
        "passed": passed,
        "checks": [vars(check) for check in checks],
        "rebuild": rebuilt,
    }
