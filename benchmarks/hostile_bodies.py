"""Whether bodies that are bent or are bombs break the service, or keep others from being answered.

Fits a small real model, serves it with all formats on, and sends mutated bodies of each: JSON as
rows, columns and one object, CSV, Arrow streams and files, Parquet with several codecs and
encodings. Fails if the process ends, takes more than 512 MB, answers /livez later than within a
second or known rows differently, leaves a request without an answer or a connection behind, or
answers with 5xx other than 503 and 504. The same seed makes the same body.

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

MEGABYTES, SECONDS, SHOWN = 512, 1.0, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first body")
    parser.add_argument("--jobs", type=int, default=3)
    given = parser.parse_args()
    from mutated_bodies import Campaign
    from served_models import make, running

    formats = json.dumps({"formats": ["json", "csv", "arrow", "parquet"]})
    with tempfile.TemporaryDirectory(prefix="hostile-bodies-") as name:
        made = make(Path(name), "binary")
        with running(made.environment(MLOPS_SERVE=formats)) as service:
            campaign = Campaign(service.port, service.process.pid, made.rows[:20])
            begun = time.monotonic()
            report = campaign.run(range(given.seed, given.seed + given.bodies), given.jobs)
            alive = service.process.poll() is None
    spent = time.monotonic() - begun
    print(f"{given.bodies:,} bodies from seed {given.seed} in {spent:,.0f} s, "
          f"{report.aborted:,} of them by clients that left")  # fmt: skip
    print(f"answers by status: {dict(sorted(report.statuses.items()))}")
    print(f"alive: {alive}; memory at most {report.largest:.0f} MB, with the reader and its fork "
          f"{report.largest_with_children:.0f} MB; /livez after at most "
          f"{report.slowest_probe:.2f} s")  # fmt: skip
    print(f"{len(report.faults)} faults")
    for fault in report.faults[:SHOWN]:
        print(fault)
    within = report.largest <= MEGABYTES and report.slowest_probe <= SECONDS
    sys.exit(0 if alive and within and not report.faults else 1)


if __name__ == "__main__":
    main()
