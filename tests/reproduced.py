"""Check whether `mlops run` has reproduced the committed results.

    python tests/reproduced.py [PROJECT]

On the same kind of processor every byte must be equal. On another kind, floating-point libraries
may choose other instructions, so that the model and its results differ in the last digits. Then
every byte under ``data/`` must be equal, metrics within ``TOLERANCE``, and the decision and each
gate's verdict.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOLERANCE = 0.005


def committed(project: Path, name: str) -> str:
    """A file as the last commit has it."""
    command = ["git", "show", f"HEAD:./{name}"]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def hashes(lock: str) -> dict[str, str]:
    """Output -> hash, of every output in a dvc.lock."""
    from ruamel.yaml import YAML

    stages = YAML(typ="safe").load(lock)["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def figures(tree: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Each number of nested JSON, with where it stands."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from figures(value, f"{path}.{key}" if path else key)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield path, float(tree)


def verdicts(record: str) -> dict[str, Any]:
    """The decision, and each gate's verdict."""
    content = json.loads(record)
    gates = {gate["name"]: gate["passed"] for gate in content["gates"]}
    return {"decision": content["decision"], **gates}


def differences(project: Path) -> tuple[list[str], list[str]]:
    """What differs and may not; and the outputs whose bytes differ."""
    before = hashes(committed(project, "dvc.lock"))
    now = hashes((project / "dvc.lock").read_text())
    bytes_differ = sorted(p for p in {*before, *now} if before.get(p) != now.get(p))
    wrong = [f"{path}: other bytes" for path in bytes_differ if path.startswith("data/")]
    name = "reports/metrics.json"
    old = dict(figures(json.loads(committed(project, name))))
    new = dict(figures(json.loads((project / name).read_text())))
    wrong += [
        f"{name} {key}: {old.get(key)} then, {new.get(key)} now"
        for key in sorted({*old, *new})
        if key not in old or key not in new or abs(old[key] - new[key]) > TOLERANCE
    ]
    name = "models/registration.json"
    then, today = verdicts(committed(project, name)), verdicts((project / name).read_text())
    if then != today:
        wrong.append(f"{name}: {then} then, {today} now")
    return wrong, bytes_differ


def main() -> int:
    """Print what differs; 1 if something does that must agree."""
    project = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    wrong, bytes_differ = differences(project)
    for line in wrong:
        print(f"differs: {line}")
    if not wrong and bytes_differ:
        print(f"agrees, but for bytes of {', '.join(bytes_differ)}")
    elif not wrong:
        print("reproduced: every output has the same bytes")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
