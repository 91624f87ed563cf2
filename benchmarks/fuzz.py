"""Fuzz test of the service with requests that schemathesis generates from the OpenAPI document.

The test needs schemathesis (`pip install '.[fuzz]'` in this clone), and a project whose pipeline
has run (`make run`). It serves the last run's model, sends valid and invalid requests, and compares
the predictions of 200 rows before and after.

    python benchmarks/fuzz.py                   # 20,000 requests
    python benchmarks/fuzz.py --requests 500 --jobs 1
"""

from __future__ import annotations

import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from service_process import BIN, ROOT, resident_megabytes, run_service, write_request_bodies

from mlops_cli.errors import install_hint

PORT = 3831
URL = f"http://127.0.0.1:{PORT}"
SHARES = (("/predict", True, 0.4), ("/predict", False, 0.2), ("/feedback", True, 0.15),
          ("/feedback", False, 0.25))  # fmt: skip
"""Path, whether its requests are valid, and their share of all requests."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        import schemathesis  # noqa: F401 - imported again in the child processes
    except ModuleNotFoundError:
        sys.exit(f"schemathesis is not installed. {install_hint('fuzz')}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        rows = write_request_bodies(folder)[:200]
        with run_service(folder, ROOT, PORT, folder / "events.sqlite", "--workspace") as service:
            responses_before, memory_before = predict(rows), resident_megabytes(service)
            started = time.monotonic()
            failures = run_examples(folder)
            request_kinds = [(*share, seed) for seed in range(args.jobs) for share in SHARES]
            run = partial(run_generated, args.requests / args.jobs, args.seed)
            with ProcessPoolExecutor(args.jobs) as pool:
                for job_failures in pool.map(run, request_kinds):
                    failures += job_failures
            seconds, statuses = time.monotonic() - started, count_statuses()
            alive, same = service.poll() is None, predict(rows) == responses_before
            print(f"{sum(statuses.values()):,} requests in {seconds:.0f} s, by status: {statuses}")
            print(
                f"service alive: {alive}; same predictions for {len(rows)} rows: {same}; memory "
                f"{memory_before:.0f} MB before, {resident_megabytes(service):.0f} MB after"
            )
    print(f"{sum(failures.values())} requests with faults")
    for text, count in failures.most_common(20):
        print(f"{count} times: {text}")
    sys.exit(1 if failures or not alive or not same else 0)


def run_examples(folder: Path) -> collections.Counter[str]:
    """Send examples, boundary values and wrong methods to each path."""
    command = [str(BIN / "st"), "run", f"{URL}/docs.json", "--phases", "examples,coverage",
             "--continue-on-failure", "--no-color", "--exclude-checks",
             "positive_data_acceptance,negative_data_rejection"]  # fmt: skip
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout
    summary = re.search(r"Test cases:\n +(.+)", output)
    print(f"examples and limits: {summary[1] if summary else output[-3000:]}", flush=True)
    if summary and "failed" not in summary[1]:
        return collections.Counter()
    return collections.Counter([output[max(output.find("= FAILURES ="), 0) :][:5_000]])


def run_generated(
    requests: float, seed: int, request_kind: tuple[str, bool, float, int]
) -> collections.Counter[str]:
    """Send generated requests to one path, valid or invalid by its schema."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as with_seed
    from schemathesis.generation import GenerationMode

    path, valid, share, job = request_kind
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_url(f"{URL}/docs.json")
    failures: collections.Counter[str] = collections.Counter()

    def send(case: Any) -> None:
        try:
            case.validate_response(case.call(base_url=URL), excluded_checks=excluded_checks())
        except Exception as error:  # noqa: BLE001 - each is counted, whatever it is
            failures[f"{path}: {error!s}"[:3_000]] += 1

    test_settings = settings(
        max_examples=round(requests * share), phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    strategy = schema[path]["POST"].as_strategy(generation_mode=mode)
    with_seed(1_000 * seed + job)(test_settings(given(strategy)(send)))()
    return failures


def excluded_checks() -> list[Any]:
    """Checks that don't apply, because policies decide whether a row is scored or refused."""
    from schemathesis.specs.openapi import checks

    return [checks.positive_data_acceptance, checks.negative_data_rejection]


def predict(rows: list[dict[str, object]]) -> list[Any]:
    """Predict rows; return the predictions without their ids."""
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{URL}/predict", json.dumps(rows).encode(), {"content-type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request, timeout=60))  # noqa: S310 - our own
    return [{k: v for k, v in p.items() if k != "id"} for p in answer["predictions"]]


def count_statuses() -> dict[str, int]:
    """Number of requests by status code, from the service's metrics."""
    text = urllib.request.urlopen(f"{URL}/metrics", timeout=60).read().decode()  # noqa: S310
    counts: collections.Counter[str] = collections.Counter()
    for code, count in re.findall(r'mlops_requests_total{code="(\d+)".*} (\d+)', text):
        counts[code] += int(count)
    return dict(sorted(counts.items()))


if __name__ == "__main__":
    main()
