"""Model files with changed bytes: each is refused with an error message, or loads and predicts.

Run as ``python benchmarks/hostile_models.py --times 2000``. Families whose library reads the file
unchecked (CatBoost, XGBoost) are skipped unless you name them, because such bundles are tried in a
child process first.
"""

from __future__ import annotations

import argparse
import collections
import io
import random
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from mlops_cli.errors import MlopsError
from mlops_cli.models.families import FAMILIES, FitRequest, FittedModel, TaskInfo

_NUMBERS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"9999", b"-999")
_BYTES = (0, 127, 128, 255, *b"019-")


def make_data() -> tuple[np.ndarray, np.ndarray, TaskInfo]:
    """Make rows of numbers and one column of categories, with missing values."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    X[:, 5] = rng.integers(0, 12, 400)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = (np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 5]) % 3 > 1).astype(int)
    return X, y, TaskInfo("binary", 2, (5,))


def corrupt(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes; in a zip file those of one member, which is packed again."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice(sorted(members))
        members[name] = corrupt(members[name], rng)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return packed.getvalue()
    corrupted = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        position = rng.randrange(len(corrupted))
        mutation = rng.randrange(3)
        if mutation == 0:
            corrupted[position] ^= 1 << rng.randrange(8)
        elif mutation == 1:
            corrupted[position] = rng.choice(_BYTES)
        else:
            corrupted[position : position + 4] = rng.choice(_NUMBERS)[: len(corrupted) - position]
    return bytes(corrupted)


def try_models(family: str, count: int, seed: int) -> Iterator[str]:
    """Yield the outcome for each changed model."""
    X, y, task = make_data()
    files = FAMILIES[family].fit(FitRequest(X, y, task, {}, seed=1, rounds=8)).to_files()
    extreme_rows = [np.full(6, value) for value in (np.nan, 1e300, -1e300, 0.0, -1.0)]
    rows = np.vstack([X[:40], *extreme_rows])
    rng = random.Random(seed)  # noqa: S311 - reproducible, no secret
    for _ in range(count):
        name = rng.choice(sorted(files))
        yield try_model(family, {**files, name: corrupt(files[name], rng)}, rows)


def try_model(family: str, files: Mapping[str, bytes], rows: np.ndarray) -> str:
    """Load a model and predict: refused, fails at a prediction, or predicts."""
    try:
        model: FittedModel = FAMILIES[family].from_files(files)
    except (MlopsError, MemoryError):
        return "refused"
    try:
        with np.errstate(all="ignore"):
            model.predict(rows)
            model.predict(rows[:1])
    except Exception:  # noqa: BLE001 - any exception is fine, as the process lives on
        return "fails at a prediction"
    return "predicts"


def main() -> None:
    """Print one line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("families", nargs="*")
    args = parser.parse_args()
    names = [n for n, f in FAMILIES.items() if f.installed and not f.unsafe_format]
    for family in args.families or names:
        counts = collections.Counter(try_models(family, args.times, args.seed))
        print(family, dict(sorted(counts.items())), flush=True)


if __name__ == "__main__":
    main()
