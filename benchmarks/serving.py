"""The service against other servers: the flights' model, logging on, one worker each.

Needs wrk, and a project whose pipeline has run (`make run`). The sides are asked in turn, round by
round, so that a noisy machine is noisy for all; the median round counts. Beside the requests a
second, processor time for each request is measured: it is what is left of a comparison where
others use the machine, and where wrk itself has one of two cores.

    python benchmarks/serving.py [--quick] [--sides ours starlette] [--seconds 4] [--json]
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from measure import ROOT, arguments, machine
from serving_sides import Rows, Running, running, sides
from wrk import Load, Measured, needed

NAMES = ("ours", "starlette", "fastapi", "bentoml", "mlflow")
LARGE = 1_000


@dataclass(frozen=True)
class Round:
    """What one load showed; microseconds of processor time for each request."""

    side: str
    connections: int
    measured: Measured
    cpu: float


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sides", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=int, default=4, help="of one load")
    given = parser.parse_args()
    needed()
    rounds, seconds = given.runs or (1 if given.quick else 5), 2 if given.quick else given.seconds
    with tempfile.TemporaryDirectory(prefix="serving-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        rows = _rows(folder)
        made = sides(folder, folder / "rows", given.sides)
        up = [stack.enter_context(running(side, rows)) for side in made]
        for side in made:
            text = b"\n".join(side.body([row]) for row in rows)
            (folder / f"bodies-{side.name}").write_bytes(text)
        facts: dict[str, Any] = {s.side.name: _alone(s, rows, rounds) for s in up}
        loads = [
            _loaded(folder, s, count, seconds)
            for _ in range(rounds)
            for s in up
            for count in s.side.connections
        ]
        for s in up:
            facts[s.side.name]["megabytes"] = round(s.megabytes)
        most = _middle([r for r in loads if r.side == "ours"], max(made[0].connections))
        half = [
            _loaded(folder, s, 64, seconds, most.measured.rate / 2, most.measured.p50 / 4)
            for _ in range(rounds)
            for s in up
            if s.side.name in {"ours", "starlette"}
        ]
    _told(loads, half, facts, as_json=given.json)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The last 2,000 rows before the data clock, as a caller has them."""
    program = json.loads((ROOT / "models/model/program.json").read_text())
    base = pl.read_parquet(ROOT / f"data/validated/{program['rules']['base']}.parquet")
    rows = base.tail(2_000).select(list(program["example"]))
    rows = rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    listed = rows.to_dicts()
    (folder / "rows").write_text("\n".join(map(json.dumps, listed)))
    return listed


def _alone(server: Running, rows: Rows, rounds: int) -> dict[str, Any]:
    """Without a load: the start, one row at a time, and large bodies."""
    for _ in range(3):
        server.ask(rows[:1])
        server.ask(rows[:LARGE])
    single = [server.ask(rows[i : i + 1]) for i in range(20 * rounds)]
    large = [server.ask(rows[:LARGE]) for _ in range(10 * rounds)]
    return {
        "seconds to the first answer": round(server.start, 2),
        "ms of one row": _ms(single),
        f"ms of {LARGE} rows": _ms(large),
    }


def _loaded(
    folder: Path, server: Running, connections: int, seconds: int,
    rate: float | None = None, latency: float = 0.0,
) -> Round:  # fmt: skip
    side = server.side
    before = server.cpu
    load = Load(
        side.url, folder / f"bodies-{side.name}", connections, seconds, rate=rate, latency=latency
    )
    measured = load.run(folder)
    return Round(
        side.name, connections, measured, (server.cpu - before) / (measured.rate * seconds) * 1e6
    )


def _middle(rounds: list[Round], connections: int) -> Round:
    """The round with the median rate."""
    some = [r for r in rounds if r.connections == connections]
    return sorted(some, key=lambda r: r.measured.rate)[len(some) // 2]


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 1)


def _told(loads: list[Round], half: list[Round], facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        plain = {"loads": loads, "half": half}
        shown = {k: [dataclasses.asdict(r) for r in rounds] for k, rounds in plain.items()}
        print(json.dumps({"machine": machine(), "sides": facts, **shown}, indent=2))
        return
    print(", ".join(f"{k} {v}" for k, v in machine().items()))
    for what, rounds in (("full load", loads), ("half of our load", half)):
        print(f"\n{what}: requests/s, p50, p99, processor time a request; ratio of ours")
        for side, count in sorted({(r.side, r.connections) for r in rounds}, key=_order):
            one = _middle([r for r in rounds if r.side == side], count)
            ours = [r for r in rounds if r.side == "ours"]
            ratio = _ratio(ours, [r for r in rounds if r.side == side], count)
            m = one.measured
            print(
                f"{side:10} {count:4} connections {m.rate:9,.0f}/s {m.p50:8.1f} ms {m.p99:8.1f} ms "
                f"{one.cpu:8.0f} us  {ratio}"
            )
    print()
    for side, told in facts.items():
        print(f"{side:10} " + ", ".join(f"{k}: {v}" for k, v in told.items()))


def _order(side: tuple[str, int]) -> tuple[int, int]:
    return NAMES.index(side[0]), side[1]


def _ratio(ours: list[Round], others: list[Round], connections: int) -> str:
    """Our requests/s over another's, round by round, and its processor time over ours."""
    counts = {r.connections for r in ours}
    count = connections if connections in counts else max(counts, default=0)
    one = [r for r in ours if r.connections == count]
    other = [r for r in others if r.connections == connections]
    if not one or one[0].side == other[0].side:
        return ""
    pairs = list(zip(one, other, strict=True))
    rate = [a.measured.rate / b.measured.rate for a, b in pairs]
    cpu = [b.cpu / a.cpu for a, b in pairs]
    return (
        f"{statistics.median(rate):.2f} times ({min(rate):.2f} to {max(rate):.2f}), "
        f"by processor time {statistics.median(cpu):.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
