"""The service against other servers: the flights' model, logging on, one worker each.

Needs wrk, and a project whose pipeline has run (`make run`). The sides are asked in turn, round by
round, so that a noisy machine is noisy for all; the median round counts. Beside the requests a
second, processor time for each request is measured: it is what is left of a comparison where
others use the machine, and where wrk itself has one of two cores.

    python benchmarks/serving.py [--quick] [--others starlette] [--seconds 4] [--json]
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import arguments, machine
from serving_sides import Rows, Running, running, sides
from under_test import last_rows
from wrk import Load, Measured, needed

NAMES = ("starlette", "fastapi", "bentoml", "mlflow")
LARGE, WARM, ROWS = 1_000, 20, 60_000
"""Rows of a large body, such bodies to begin with, and all rows: so many that few are asked for
what was just looked up."""
TRAINED = 2_000
"""Rows of the others' models."""


@dataclass(frozen=True)
class Round:
    """What one load showed; microseconds of processor time for each request."""

    side: str
    connections: int
    measured: Measured
    cpu: float


@dataclass(frozen=True)
class Found:
    """Ours against another server: loads in turn, those at half of our load, and facts."""

    other: str
    loads: list[Round]
    half: list[Round]
    facts: dict[str, dict[str, float]]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--others", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=int, default=4, help="of one load")
    given = parser.parse_args()
    needed()
    rounds, seconds = given.runs or (1 if given.quick else 5), 2 if given.quick else given.seconds
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        rows = last_rows(ROWS)
        (folder / "rows").write_text("\n".join(map(json.dumps, rows[-TRAINED:])))
        ours, *others = sides(folder, folder / "rows", given.others)
        for side in (ours, *others):
            bodies = b"\n".join(side.body([row]) for row in rows)
            (folder / f"bodies-{side.name}").write_bytes(bodies)
        found = []
        for side in others:
            with running(ours, rows) as one, running(side, rows) as other:
                found.append(_compared(folder, one, other, rows, rounds, seconds))
            if not given.json:
                _told(found[-1])
    if given.json:
        shown = [dataclasses.asdict(f) for f in found]
        print(json.dumps({"machine": machine(), "found": shown}, indent=2))


def _compared(
    folder: Path, ours: Running, other: Running, rows: Rows, rounds: int, seconds: int
) -> Found:
    """Both sides in turn."""
    facts = {s.side.name: _alone(s, rows) for s in (ours, other)}
    fast = other.side.connections == ours.side.connections
    turns = [
        (s, count)
        for s in (ours, other)
        for count in (s.side.connections if s is other or fast else s.side.connections[:1])
    ]
    loads = [_loaded(folder, s, n, seconds) for _ in range(rounds) for s, n in turns]
    for s in (ours, other):
        facts[s.side.name]["megabytes under load"] = round(s.megabytes)
    half: list[Round] = []
    if fast:
        mine = [r for r in loads if r.side == ours.side.name]
        few = ours.side.connections[0]
        rate, latency = _fastest(mine).measured.rate / 2, _middle(mine, few).measured.p50 / 2
        half = [
            _loaded(folder, s, few, seconds, rate, latency)
            for _ in range(rounds)
            for s in (ours, other)
        ]
    return Found(other.side.name, loads, half, facts)


def _alone(server: Running, rows: Rows) -> dict[str, Any]:
    """Without a load: the start, one row at a time, and large bodies; none is asked twice."""
    bodies = [rows[start : start + LARGE] for start in range(0, len(rows), LARGE)]
    # What our service looks up comes from its online store once for each key, then from memory.
    for body in bodies[:WARM]:
        server.ask(body)
    single = [server.ask(body[:1]) for body in bodies[WARM:]]
    large = [server.ask(body) for body in bodies[WARM:]]
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


def _fastest(rounds: list[Round]) -> Round:
    """The median round with the connections that gave the most requests a second."""
    counts = {r.connections for r in rounds}
    return max((_middle(rounds, count) for count in counts), key=lambda r: r.measured.rate)


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 1)


def _told(found: Found) -> None:
    print(f"\nours and {found.other}: requests/s, p50, p99, processor time of a request")
    for what, rounds in (("", found.loads), (" at half of our load", found.half)):
        for side, count in dict.fromkeys((r.side, r.connections) for r in rounds):
            one = _middle([r for r in rounds if r.side == side], count)
            m = one.measured
            print(
                f"{side:10} {count:4} connections {m.rate:9,.0f}/s {m.p50:8.1f} ms {m.p99:8.1f} ms "
                f"{one.cpu:8.0f} us{what}"
            )
    for count, theirs in _pairs(found):
        print(f"ours with {count}, {found.other} with {theirs}: {_ratio(found, count, theirs)}")
    for side, told in found.facts.items():
        print(f"{side:10} " + ", ".join(f"{k}: {v}" for k, v in told.items()), flush=True)


def _pairs(found: Found) -> list[tuple[int, int]]:
    """Which numbers of connections are held against each other; at last each side's fastest."""
    ours = [r for r in found.loads if r.side != found.other]
    theirs = [r for r in found.loads if r.side == found.other]
    counts = [dict.fromkeys(r.connections for r in rounds) for rounds in (ours, theirs)]
    fastest = (_fastest(ours).connections, _fastest(theirs).connections)
    return list(dict.fromkeys([*zip(*counts, strict=True), fastest]))


def _ratio(found: Found, count: int, theirs: int) -> str:
    """Our requests/s over another's, round by round, and its processor time over ours."""
    one = [r for r in found.loads if r.side != found.other and r.connections == count]
    other = [r for r in found.loads if r.side == found.other and r.connections == theirs]
    pairs = list(zip(one, other, strict=True))
    rate = [a.measured.rate / b.measured.rate for a, b in pairs]
    cpu = [b.cpu / a.cpu for a, b in pairs]
    return (
        f"{statistics.median(rate):.2f} times the requests ({min(rate):.2f} to {max(rate):.2f}), "
        f"{statistics.median(cpu):.2f} times by processor time"
    )


if __name__ == "__main__":
    sys.exit(main())
