"""Comparison of the service with other servers: the flights' model, logging on, one worker each.

The benchmark needs wrk, and a project whose pipeline has run (`make run`). The servers take turns,
so that noise affects all of them; the median round counts. Processor time for each request is
measured besides requests a second, because it depends less on wrk and on other processes.

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

from command_timing import describe_machine, option_parser
from servers import Rows, RunningServer, create_servers, run_server
from service_process import last_rows
from wrk import Load, LoadResult, require_wrk

NAMES = ("starlette", "fastapi", "bentoml", "mlflow")
LARGE_BODY, WARM_UP_BODIES, ROWS = 1_000, 20, 60_000
"""Rows of a large body, number of large bodies for warm-up, and number of different rows. There are
many, so that few of their look-ups are in the cache."""
TRAINING_ROWS = 2_000
"""Rows on which the other servers' models are fitted."""


@dataclass(frozen=True)
class Round:
    """Result of one load; ``cpu`` is microseconds of processor time for each request."""

    server: str
    connections: int
    result: LoadResult
    cpu: float


@dataclass(frozen=True)
class ServerComparison:
    """Our service and another server: rounds at full load and at half of our load, and facts."""

    other: str
    loads: list[Round]
    half: list[Round]
    facts: dict[str, dict[str, float]]


def main() -> None:
    parser = option_parser(__doc__ or "")
    parser.add_argument("--others", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=int, default=4, help="duration of one load")
    args = parser.parse_args()
    require_wrk()
    rounds, seconds = args.runs or (1 if args.quick else 5), 2 if args.quick else args.seconds
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        rows = last_rows(ROWS)
        (folder / "rows").write_text("\n".join(map(json.dumps, rows[-TRAINING_ROWS:])))
        ours, *others = create_servers(folder, folder / "rows", args.others)
        for side in (ours, *others):
            bodies = b"\n".join(side.body([row]) for row in rows)
            (folder / f"bodies-{side.name}").write_bytes(bodies)
        comparisons = []
        for side in others:
            with run_server(ours, rows) as our_server, run_server(side, rows) as other_server:
                comparisons.append(
                    _compare(folder, our_server, other_server, rows, rounds, seconds)
                )
            if not args.json:
                _print_comparison(comparisons[-1])
    if args.json:
        contents = [dataclasses.asdict(f) for f in comparisons]
        print(json.dumps({"machine": describe_machine(), "comparisons": contents}, indent=2))


def _compare(
    folder: Path, ours: RunningServer, other: RunningServer, rows: Rows, rounds: int, seconds: int
) -> ServerComparison:
    """Measure both servers alternately."""
    facts = {s.server.name: _measure_without_load(s, rows) for s in (ours, other)}
    same_connections = other.server.connections == ours.server.connections
    loads_of_round = [
        (s, count)
        for s in (ours, other)
        for count in (
            s.server.connections if s is other or same_connections else s.server.connections[:1]
        )
    ]
    loads = [
        _measure_under_load(folder, s, n, seconds) for _ in range(rounds) for s, n in loads_of_round
    ]
    for s in (ours, other):
        facts[s.server.name]["megabytes under load"] = round(s.megabytes)
    half: list[Round] = []
    if same_connections:
        our_rounds = [r for r in loads if r.server == ours.server.name]
        min_connections = ours.server.connections[0]
        rate, latency = (
            _fastest(our_rounds).result.rate / 2,
            _median_round(our_rounds, min_connections).result.p50 / 2,
        )
        half = [
            _measure_under_load(folder, s, min_connections, seconds, rate, latency)
            for _ in range(rounds)
            for s in (ours, other)
        ]
    return ServerComparison(other.server.name, loads, half, facts)


def _measure_without_load(server: RunningServer, rows: Rows) -> dict[str, Any]:
    """Measure the start, single rows and large bodies without load; no row is sent twice."""
    bodies = [rows[start : start + LARGE_BODY] for start in range(0, len(rows), LARGE_BODY)]
    # Our service reads each key once from its online store, then from memory.
    for body in bodies[:WARM_UP_BODIES]:
        server.request(body)
    single = [server.request(body[:1]) for body in bodies[WARM_UP_BODIES:]]
    large = [server.request(body) for body in bodies[WARM_UP_BODIES:]]
    return {
        "seconds to the first response": round(server.start, 2),
        "ms of one row": _median_ms(single),
        f"ms of {LARGE_BODY} rows": _median_ms(large),
    }


def _measure_under_load(
    folder: Path, server: RunningServer, connections: int, seconds: int,
    rate: float | None = None, latency: float = 0.0,
) -> Round:  # fmt: skip
    target = server.server
    before = server.cpu
    load = Load(
        target.url,
        folder / f"bodies-{target.name}",
        connections,
        seconds,
        rate=rate,
        latency=latency,
    )
    result = load.run(folder)
    return Round(
        target.name, connections, result, (server.cpu - before) / (result.rate * seconds) * 1e6
    )


def _median_round(rounds: list[Round], connections: int) -> Round:
    """Return the round with the median rate."""
    matching = [r for r in rounds if r.connections == connections]
    return sorted(matching, key=lambda r: r.result.rate)[len(matching) // 2]


def _fastest(rounds: list[Round]) -> Round:
    """Return the median round of the number of connections with the highest rate."""
    counts = {r.connections for r in rounds}
    return max((_median_round(rounds, count) for count in counts), key=lambda r: r.result.rate)


def _median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e3, 1)


def _print_comparison(comparison: ServerComparison) -> None:
    print(f"\nours and {comparison.other}: requests/s, p50, p99, processor time of a request")
    for suffix, rounds in (("", comparison.loads), (" at half of our load", comparison.half)):
        for side, count in dict.fromkeys((r.server, r.connections) for r in rounds):
            round_ = _median_round([r for r in rounds if r.server == side], count)
            m = round_.result
            print(
                f"{side:10} {count:4} connections {m.rate:9,.0f}/s {m.p50:8.1f} ms {m.p99:8.1f} ms "
                f"{round_.cpu:8.0f} us{suffix}"
            )
    for count, other_connections in _connection_pairs(comparison):
        print(
            f"ours with {count}, {comparison.other} with {other_connections}: "
            f"{_ratio(comparison, count, other_connections)}"
        )
    for side, facts in comparison.facts.items():
        print(f"{side:10} " + ", ".join(f"{k}: {v}" for k, v in facts.items()), flush=True)


def _connection_pairs(comparison: ServerComparison) -> list[tuple[int, int]]:
    """Pairs of connections to compare; the last one has each side's fastest."""
    ours = [r for r in comparison.loads if r.server != comparison.other]
    other_connections = [r for r in comparison.loads if r.server == comparison.other]
    counts = [dict.fromkeys(r.connections for r in rounds) for rounds in (ours, other_connections)]
    fastest = (_fastest(ours).connections, _fastest(other_connections).connections)
    return list(dict.fromkeys([*zip(*counts, strict=True), fastest]))


def _ratio(comparison: ServerComparison, count: int, other_connections: int) -> str:
    """Ratios of requests a second (ours over the other's) and of processor time (the reverse)."""
    ours = [r for r in comparison.loads if r.server != comparison.other and r.connections == count]
    other = [
        r
        for r in comparison.loads
        if r.server == comparison.other and r.connections == other_connections
    ]
    pairs = list(zip(ours, other, strict=True))
    rate = [a.result.rate / b.result.rate for a, b in pairs]
    cpu = [b.cpu / a.cpu for a, b in pairs]
    return (
        f"{statistics.median(rate):.2f} times the requests ({min(rate):.2f} to {max(rate):.2f}), "
        f"{statistics.median(cpu):.2f} times by processor time"
    )


if __name__ == "__main__":
    sys.exit(main())
