"""Comparison of the registry with GTO: listing and rollback with 200 versions and 1,000 tags.

The repository is in a temporary folder. Its commits contain no data, because both sides only read
and write tags.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from command_timing import compare, environment, option_parser, report, run_command

VERSIONS, TAGS = 200, 1000
PARAMS = """\
project: {name: shop}
task: {type: regression}
ingest: {sources: {orders: {uri: orders.csv}}}
featurize: {base: orders, target: price}
register: {name: shop}
"""


def main() -> None:
    options = option_parser(__doc__ or "").parse_args()
    runs = options.runs or (3 if options.quick else 10)
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        project = _make_project(Path(folder))
        listing = compare(
            "mlops models / gto show",
            lambda: run_command(["mlops", "models"], project),
            lambda: run_command(["gto", "show", "shop"], project),
            runs=runs,
            limit=1.5,
        )
        seconds = [_rollback(project) for _ in range(runs)]
        facts = {
            f"median seconds of {runs} rollbacks (target: 2)": round(statistics.median(seconds), 3),
            "longest rollback in seconds": round(max(seconds), 3),
        }
        report([listing], facts, as_json=options.json)
        if statistics.median(seconds) > 2:
            sys.exit(1)


def _rollback(project: Path) -> float:
    return run_command(["mlops", "rollback", "--message", "measured"], project).seconds


def _make_project(root: Path) -> Path:
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text("stages: {}\n")
    _git(root, "init", "--quiet", "--initial-branch", "main")
    _git(root, "config", "user.name", "Ann")
    _git(root, "config", "user.email", "ann@example.org")
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "Start")
    commands = []
    for n in range(VERSIONS):
        commands.append(_commit(n))
        commands.append(_tag(f"shop@v0.{n + 1}.0", n, n))
    for n in range(TAGS - VERSIONS):
        stage = "staging" if n % 2 else "production"
        commands.append(_tag(f"shop#{stage}#{n + 1}", n * VERSIONS // (TAGS - VERSIONS), n))
    _git(root, "fast-import", "--quiet", text="".join(commands))
    _git(root, "reset", "--quiet", "--hard", "main")
    return root


def _commit(n: int) -> str:
    parent = f"from {'refs/heads/main^0' if n == 0 else f':{n}'}\n"
    committer = f"committer Ann <ann@example.org> {_timestamp(n)} +0000"
    head = f"commit refs/heads/main\nmark :{n + 1}\n{committer}\n"
    return f"{head}{_data(f'Version {n}')}{parent}M 644 inline version.txt\n{_data(str(n))}"


def _tag(name: str, n: int, at: int) -> str:
    message = f"{name}\n\nBundle: {n:064x}\nMetric: mae {n / 100:.2f}"
    tagger = f"tagger Ann <ann@example.org> {_timestamp(at)} +0000"
    return f"tag {name}\nfrom :{n + 1}\n{tagger}\n{_data(message)}"


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def _timestamp(n: int) -> int:
    return 1_700_000_000 + 60 * n


def _git(root: Path, *arguments: str, text: str | None = None) -> None:
    command = ["git", *arguments]
    env = {**os.environ, **environment()}
    subprocess.run(command, cwd=root, check=True, input=text, text=True, env=env)


if __name__ == "__main__":
    main()
