"""Drift: its speed against Evidently's and NannyML's, false alarms, faults found, and delay.

    python benchmarks/monitoring.py [--only speed alarms faults delay] [--rows 1000000 10000000]

The peers are installed from PyPI, each in a venv of its own. Evidently 0.7.23 does not import
beside pandas 3, so pandas 2 is pinned there. All sides read the same Parquet file and write JSON;
ours begins with the reference profile, as it lies in a bundle, theirs with the reference's rows.
CPU seconds stand beside the time, as the time says little on a machine that is busy otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SIDE = HERE / "drift_report.py"
REFERENCE_ROWS = 200_000
PEERS = {
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
    # It imports statsmodels, which it doesn't ask for.
    "nannyml": ("nannyml", "statsmodels", "pandas<3", "pyarrow"),
}
PARTS = ("speed", "alarms", "faults", "delay")
_UNIT = 2**20 if sys.platform == "darwin" else 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--peer-rows", type=int, default=10_000_000, help="at most, for the peers")
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if "speed" in given.only:
        found["speed"] = speed(given.rows, given.peer_rows)
    if "alarms" in given.only:
        from drift_alarms import false_alarms

        found["alarms"] = false_alarms(given.windows, given.workers)
    if "faults" in given.only:
        from drift_faults import found_faults

        faults = found_faults()
        hits = sum(f["found"] for f in faults)
        found["faults"] = {"found": f"{hits} of {len(faults)}", "each": faults}
    if "delay" in given.only:
        from drift_delay import by_month, delays, reference, year

        frame, kinds = year()
        known = reference(frame, kinds)
        found["delay"] = {"flights": by_month(frame, known), "faults": delays(frame, known)}
    print(json.dumps(found, indent=2, ensure_ascii=False))


def speed(sizes: list[int], peer_rows: int) -> list[dict[str, Any]]:
    """Each side on each size, one after the other, and how many times ours is faster."""
    measured = []
    with tempfile.TemporaryDirectory(prefix="monitoring-") as name:
        folder = Path(name)
        peers = {peer: python for peer in PEERS if (python := _installed(peer, folder))}
        known, profile = folder / "reference.parquet", folder / "profile.json"
        _run(sys.executable, "rows", str(REFERENCE_ROWS), "1", str(known))
        _run(sys.executable, "reference", str(known), str(profile))
        for rows in sizes:
            log, out = folder / "log.parquet", folder / "out.json"
            _run(sys.executable, "rows", str(rows), "2", str(log))
            sides = {"ours": _run(sys.executable, "ours", str(log), str(profile), str(out))}
            for peer, python in peers.items():
                if rows <= peer_rows:
                    sides[peer] = _run(python, peer, str(log), str(known), str(out))
            ratios = {
                peer: {unit: round(side[unit] / sides["ours"][unit], 1) for unit in side}
                for peer, side in sides.items()
                if peer != "ours"
            }
            measured.append({"rows": rows, **sides, "over ours": ratios})
    return measured


def _installed(peer: str, folder: Path) -> str | None:
    """A Python with the peer; None, and why, if it can't be had here."""
    place = folder / peer
    python = str(place / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(place)],
        [python, "-m", "pip", "install", "--quiet", *PEERS[peer]],
        # The first import of all modules is not what is measured.
        [python, "-c", f"import {peer}"],
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for step in steps:
        done = subprocess.run(step, check=False, capture_output=True, text=True, env=environment)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            sys.stderr.write(f"{peer} is left out: {' '.join(last)}\n")
            return None
    return python


def _run(python: str, side: str, *arguments: str) -> dict[str, float]:
    """Time, CPU seconds and peak memory of one side's process."""
    sys.stderr.write(f"{side} {' '.join(Path(a).name for a in arguments)}\n")
    start = time.perf_counter()
    # Neither of the peers shall tell anybody.
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    child = subprocess.Popen([python, str(SIDE), side, *arguments], env=quiet)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{side} failed with exit code {child.returncode}")
    return {
        "seconds": round(seconds, 2),
        "CPU seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "megabytes": round(usage.ru_maxrss * _UNIT / 2**20),
    }


if __name__ == "__main__":
    main()
