"""Model files with some bytes changed: each is refused with a sentence, or loads and predicts.

Run as ``python benchmarks/hostile_models.py --times 2000``. A family whose library reads the file
unchecked (CatBoost, XGBoost) is left out unless named: its bundles are tried in a child first.
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


def data() -> tuple[np.ndarray, np.ndarray, TaskInfo]:
    """Some rows of numbers and one column of categories, with missing values."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    X[:, 5] = rng.integers(0, 12, 400)
    X[rng.random(X.shape) < 0.05] = np.nan
    y = (np.nan_to_num(X[:, 0]) + np.nan_to_num(X[:, 5]) % 3 > 1).astype(int)
    return X, y, TaskInfo("binary", 2, (5,))


def changed(content: bytes, dice: random.Random) -> bytes:
    """Bytes with a few of them changed; within a zip file those of a member, packed anew."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = dice.choice(sorted(members))
        members[name] = changed(members[name], dice)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
        return packed.getvalue()
    found = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(found))
        way = dice.randrange(3)
        if way == 0:
            found[at] ^= 1 << dice.randrange(8)
        elif way == 1:
            found[at] = dice.choice(_BYTES)
        else:
            found[at : at + 4] = dice.choice(_NUMBERS)[: len(found) - at]
    return bytes(found)


def hostile(family: str, times: int, seed: int) -> Iterator[str]:
    """What became of each changed model."""
    X, y, task = data()
    files = FAMILIES[family].fit(FitRequest(X, y, task, {}, seed=1, rounds=8)).to_files()
    odd = [np.full(6, value) for value in (np.nan, 1e300, -1e300, 0.0, -1.0)]
    rows = np.vstack([X[:40], *odd])
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    for _ in range(times):
        name = dice.choice(sorted(files))
        yield outcome(family, {**files, name: changed(files[name], dice)}, rows)


def outcome(family: str, files: Mapping[str, bytes], rows: np.ndarray) -> str:
    """Refused, or read; and then whether it predicts."""
    try:
        model: FittedModel = FAMILIES[family].from_files(files)
    except (MlopsError, MemoryError):
        return "refused"
    try:
        with np.errstate(all="ignore"):
            model.predict(rows)
            model.predict(rows[:1])
    except Exception:  # noqa: BLE001 - an answer with an error, as long as the process lives
        return "fails at a prediction"
    return "predicts"


def main() -> None:
    """Print one line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("families", nargs="*")
    given = parser.parse_args()
    names = [n for n, f in FAMILIES.items() if f.installed and not f.unsafe_format]
    for family in given.families or names:
        counts = collections.Counter(hostile(family, given.times, given.seed))
        print(family, dict(sorted(counts.items())), flush=True)


if __name__ == "__main__":
    main()
