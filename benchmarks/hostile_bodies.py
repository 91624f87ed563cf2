"""Fuzz test of the service with mutated bodies and decompression bombs.

The test fits a small model, serves it with all formats, and sends mutated bodies of each: JSON as
rows, columns and one object, CSV, Arrow streams and files, Parquet with several codecs and
encodings. It fails if the process ends or takes more than 512 MB, if /livez takes longer than a
second, if the predictions of fixed rows change, if a request gets no response or a connection stays
open, or if a status is 5xx other than 503 and 504. A seed always makes the same body.

    python benchmarks/hostile_bodies.py                       # 50,000 bodies
    python benchmarks/hostile_bodies.py --bodies 1 --seed 77  # body 77 again
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

MAX_MEGABYTES, MAX_PROBE_SECONDS, MAX_SHOWN = 512, 1.0, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first body")
    parser.add_argument("--jobs", type=int, default=3)
    args = parser.parse_args()
    from model_services import fit_model, run_service
    from mutated_bodies import Campaign

    formats = json.dumps({"formats": ["json", "csv", "arrow", "parquet"]})
    with tempfile.TemporaryDirectory(prefix="hostile-bodies-") as name:
        model = fit_model(Path(name), "binary")
        with run_service(model.environment(MLOPS_SERVE=formats)) as service:
            campaign = Campaign(service.port, service.process.pid, model.rows[:20])
            started = time.monotonic()
            report = campaign.run(range(args.seed, args.seed + args.bodies), args.jobs)
            alive = service.process.poll() is None
    seconds = time.monotonic() - started
    print(f"{args.bodies:,} bodies from seed {args.seed} in {seconds:,.0f} s, "
          f"{report.aborted:,} of them from clients that disconnected")  # fmt: skip
    print(f"responses by status: {dict(sorted(report.statuses.items()))}")
    print(f"alive: {alive}; memory at most {report.largest:.0f} MB, with the reader and its fork "
          f"{report.largest_with_children:.0f} MB; /livez after at most "
          f"{report.slowest_probe:.2f} s")  # fmt: skip
    print(f"{len(report.faults)} faults")
    for fault in report.faults[:MAX_SHOWN]:
        print(fault)
    within_limits = report.largest <= MAX_MEGABYTES and report.slowest_probe <= MAX_PROBE_SECONDS
    sys.exit(0 if alive and within_limits and not report.faults else 1)


if __name__ == "__main__":
    main()
