"""Whether generated requests break the service, or make it answer what its document doesn't say.

Needs schemathesis (`pip install '.[fuzz]'` in this clone), and a project whose pipeline has run
(`make run`). Serves the last run's model, sends it requests that schemathesis makes from the
OpenAPI document, right ones and wrong ones, and compares known answers before and after.

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

from under_test import BIN, ROOT, bodies, memory, serving

from mlops_cli.errors import install_hint

PORT = 3831
URL = f"http://127.0.0.1:{PORT}"
SHARES = (("/predict", True, 0.4), ("/predict", False, 0.2), ("/feedback", True, 0.15),
          ("/feedback", False, 0.25))  # fmt: skip
"""Path, whether requests are by the document, and which part of all they are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    try:
        import schemathesis  # noqa: F401 - only the parts need it
    except ModuleNotFoundError:
        sys.exit(f"schemathesis is not installed. {install_hint('fuzz')}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        rows = bodies(folder)[:200]
        with serving(folder, ROOT, PORT, folder / "events.sqlite", "--workspace") as service:
            before, used, begun = predicted(rows), memory(service), time.monotonic()
            failed = systematic(folder)
            parts = [(*share, seed) for seed in range(given.jobs) for share in SHARES]
            count = partial(generated, given.requests / given.jobs, given.seed)
            with ProcessPoolExecutor(given.jobs) as pool:
                for found in pool.map(count, parts):
                    failed += found
            spent, codes = time.monotonic() - begun, by_code()
            alive, same = service.poll() is None, predicted(rows) == before
            print(f"{sum(codes.values()):,} requests in {spent:.0f} s, by status: {codes}")
            print(f"service alive: {alive}; {len(rows)} known rows answered as before: {same}; "
                  f"memory {used:.0f} MB before, {memory(service):.0f} MB after")  # fmt: skip
    print(f"{sum(failed.values())} requests with faults")
    for text, times in failed.most_common(20):
        print(f"{times} times: {text}")
    sys.exit(1 if failed or not alive or not same else 0)


def systematic(folder: Path) -> collections.Counter[str]:
    """Each path with its examples, the limits of each value, and methods that it doesn't take."""
    words = [str(BIN / "st"), "run", f"{URL}/docs.json", "--phases", "examples,coverage",
             "--continue-on-failure", "--no-color", "--exclude-checks",
             "positive_data_acceptance,negative_data_rejection"]  # fmt: skip
    found = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False).stdout
    said = re.search(r"Test cases:\n +(.+)", found)
    print(f"examples and limits: {said[1] if said else found[-3000:]}", flush=True)
    if said and "failed" not in said[1]:
        return collections.Counter()
    return collections.Counter([found[max(found.find("= FAILURES ="), 0) :][:5_000]])


def generated(
    requests: float, seed: int, part: tuple[str, bool, float, int]
) -> collections.Counter[str]:
    """Requests to one path, drawn from its schema or from what breaks it."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from schemathesis.generation import GenerationMode

    path, right, share, job = part
    mode = GenerationMode.POSITIVE if right else GenerationMode.NEGATIVE
    schema = schemathesis.openapi.from_url(f"{URL}/docs.json")
    failed: collections.Counter[str] = collections.Counter()

    def ask(case: Any) -> None:
        try:
            case.validate_response(case.call(base_url=URL), excluded_checks=disputable())
        except Exception as error:  # noqa: BLE001 - each is counted, whatever it is
            failed[f"{path}: {error!s}"[:3_000]] += 1

    chosen = settings(
        max_examples=round(requests * share), phases=[Phase.generate], database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    strategy = schema[path]["POST"].as_strategy(generation_mode=mode)
    seeded(1_000 * seed + job)(chosen(given(strategy)(ask)))()
    return failed


def disputable() -> list[Any]:
    """Checks that a row is scored if its types are right, or refused if not: policies decide."""
    from schemathesis.specs.openapi import checks

    return [checks.positive_data_acceptance, checks.negative_data_rejection]


def predicted(rows: list[dict[str, object]]) -> list[Any]:
    """What rows are answered, without the ids."""
    request = urllib.request.Request(  # noqa: S310 - our own
        f"{URL}/predict", json.dumps(rows).encode(), {"content-type": "application/json"}
    )
    answer = json.load(urllib.request.urlopen(request, timeout=60))  # noqa: S310 - our own
    return [{k: v for k, v in p.items() if k != "id"} for p in answer["predictions"]]


def by_code() -> dict[str, int]:
    """Status code -> requests, as the service counts them."""
    text = urllib.request.urlopen(f"{URL}/metrics", timeout=60).read().decode()  # noqa: S310
    found: collections.Counter[str] = collections.Counter()
    for code, count in re.findall(r'mlops_requests_total{code="(\d+)".*} (\d+)', text):
        found[code] += int(count)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    main()
