"""Drift: speed compared with Evidently and NannyML, false alarms, detected faults, and delay.

    python benchmarks/monitoring.py [--only speed alarms faults delay] [--rows 1000000 10000000]

The peers are installed from PyPI, each into its own venv. Evidently 0.7.23 doesn't import with
pandas 3, so pandas 2 is pinned there. All sides read the same Parquet file and write JSON. Our side
starts with the reference profile, as in a bundle, the peers with the reference's rows. CPU seconds
are measured too, because the time depends on what else the machine does.
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
SCRIPT = HERE / "drift_report.py"
REFERENCE_ROWS = 200_000
PEERS = {
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow"),
    # It imports statsmodels, which isn't among its requirements.
    "nannyml": ("nannyml", "statsmodels", "pandas<3", "pyarrow"),
}
PARTS = ("speed", "alarms", "faults", "delay")
_MEMORY_UNIT = 2**20 if sys.platform == "darwin" else 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument(
        "--peer-rows", type=int, default=10_000_000, help="largest log for the peers"
    )
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    results: dict[str, Any] = {}
    if "speed" in args.only:
        results["speed"] = speed(args.rows, args.peer_rows)
    if "alarms" in args.only:
        from drift_alarms import false_alarms

        results["alarms"] = false_alarms(args.windows, args.workers)
    if "faults" in args.only:
        from drift_faults import detect_faults

        faults = detect_faults()
        detected = sum(f["detected"] for f in faults)
        results["faults"] = {"detected": f"{detected} of {len(faults)}", "each": faults}
    if "delay" in args.only:
        from drift_delay import (
            alarms_by_period,
            build_reference,
            detection_delays,
            features_of_2013,
        )

        frame, kinds = features_of_2013()
        reference = build_reference(frame, kinds)
        results["delay"] = {
            "flights": alarms_by_period(frame, reference),
            "faults": detection_delays(frame, reference),
        }
    print(json.dumps(results, indent=2, ensure_ascii=False))


def speed(sizes: list[int], peer_rows: int) -> list[dict[str, Any]]:
    """Run each side on each size; also return the peers' costs over ours."""
    measurements = []
    with tempfile.TemporaryDirectory(prefix="monitoring-") as name:
        folder = Path(name)
        peers = {peer: python for peer in PEERS if (python := _install(peer, folder))}
        reference_rows, profile = folder / "reference.parquet", folder / "profile.json"
        _run(sys.executable, "rows", str(REFERENCE_ROWS), "1", str(reference_rows))
        _run(sys.executable, "reference", str(reference_rows), str(profile))
        for rows in sizes:
            log, out = folder / "log.parquet", folder / "out.json"
            _run(sys.executable, "rows", str(rows), "2", str(log))
            sides = {"ours": _run(sys.executable, "ours", str(log), str(profile), str(out))}
            for peer, python in peers.items():
                if rows <= peer_rows:
                    sides[peer] = _run(python, peer, str(log), str(reference_rows), str(out))
            ratios = {
                peer: {unit: round(side[unit] / sides["ours"][unit], 1) for unit in side}
                for peer, side in sides.items()
                if peer != "ours"
            }
            measurements.append({"rows": rows, **sides, "over ours": ratios})
    return measurements


def _install(peer: str, folder: Path) -> str | None:
    """Install a peer and return its Python; print the error and return None if that fails."""
    venv = folder / peer
    python = str(venv / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(venv)],
        [python, "-m", "pip", "install", "--quiet", *PEERS[peer]],
        # Compiles the modules, so that this isn't measured.
        [python, "-c", f"import {peer}"],
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for step in steps:
        completed = subprocess.run(
            step, check=False, capture_output=True, text=True, env=environment
        )
        if completed.returncode:
            last_line = completed.stderr.strip().splitlines()[-1:]
            sys.stderr.write(f"{peer} is skipped: {' '.join(last_line)}\n")
            return None
    return python


def _run(python: str, side: str, *arguments: str) -> dict[str, float]:
    """Run one side; return time, CPU seconds and peak memory of its process."""
    sys.stderr.write(f"{side} {' '.join(Path(a).name for a in arguments)}\n")
    start = time.perf_counter()
    # Turns off the peers' usage reports.
    environment = {**os.environ, "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    child = subprocess.Popen([python, str(SCRIPT), side, *arguments], env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{side} failed with exit code {child.returncode}")
    return {
        "seconds": round(seconds, 2),
        "CPU seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "megabytes": round(usage.ru_maxrss * _MEMORY_UNIT / 2**20),
    }


if __name__ == "__main__":
    main()
