"""Prints the gates' decision in `models/registration.json`, at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.cli.output import console
from mlops_cli.data.untrusted import refuse_malformed

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["decision", "draw_decision"]


def decision(layout: Layout) -> dict[str, Any] | None:
    """Record of the register stage; None if there is none yet."""
    from mlops_cli.data.atomic_files import read_json
    from mlops_cli.errors import NotFound

    try:
        record: dict[str, Any] | None = read_json(layout.registration)
    except NotFound:
        return None
    return record


@refuse_malformed("models/registration.json", "Create it again with `mlops run`.")
def draw_decision(layout: Layout) -> None:
    """Print the decision, each gate's verdict, and the test metrics with their intervals."""
    from mlops_cli.reporting import Table, figure_text

    record = decision(layout)
    if record is None:
        return
    gates = tuple(
        (
            gate["name"],
            "passed" if gate["passed"] else "refused",
            gate.get("reason") or f"the limit is {gate['limit']:g}",
        )
        for gate in record["gates"]
    )
    if gates:
        console.draw_table(Table("gates", ("gate", "verdict", "why"), gates))
    figures = record.get("metrics", {})
    metrics = ", ".join(f"{name} {figure_text(m)}" for name, m in figures.items())
    colour = "green" if record["decision"] == "approved" else "yellow"
    verdict = f"[bold {colour}]{console.line(record['decision'])}[/bold {colour}]"
    details = console.line(f"{record['name']}, test {metrics}")
    console.console().print(f"{verdict}: {details}")
