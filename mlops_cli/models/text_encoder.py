"""Free text as a few numbers: n-grams of its bytes, weighed, and projected to what they share.

Latent semantic analysis (Deerwester et al. 1990) of hashed character n-grams, as in skrub's
StringEncoder, with a hash of its own in numpy: a table and one row go the same way, have the same
bits, and need no library to be scored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TextEncoder"]

Floats = npt.NDArray[np.float64]

_BUCKETS = 4096
_LENGTHS = (3, 4)
_NUMBERS = 20
_FIT_ROWS = 10_000
_LONGEST = 2_000
"""Characters that are read."""
_LEAST = 1e-3
"""A component's strength, as a share of the strongest one's."""
_BLOCK = 500
"""Texts that are worked on at a time: what bounds the memory."""


@dataclass(frozen=True)
class TextEncoder:
    """A fitted map from a text to numbers, the last of which is its length.

    Parameters
    ----------
    weights
        Inverse document frequency of each bucket (buckets,); 0 where it says nothing.
    components
        (buckets, numbers), in half precision.
    """

    weights: npt.NDArray[np.float32]
    components: npt.NDArray[np.float16]

    @classmethod
    def fit(cls, texts: Sequence[str | None]) -> TextEncoder:
        """Learn from at most ``_FIT_ROWS`` texts, evenly spread."""
        known = [t for t in texts if t is not None]
        known = known[:: -(-len(known) // _FIT_ROWS) or 1]
        rows, buckets, counts = _grams(known)
        seen = np.bincount(buckets, minlength=_BUCKETS)
        weights = np.log((1 + len(known)) / (1 + seen)) + 1
        # What only one text has can't be shared.
        weights = np.where(seen > 1, weights, 0.0).astype(np.float32)
        values = _weighed(rows, buckets, counts, weights, len(known))
        return cls(weights, _components(rows, buckets, values, len(known)))

    @property
    def width(self) -> int:
        """How many numbers a text becomes."""
        return int(self.components.shape[1]) + 1

    def transform(self, texts: Sequence[str | None]) -> Floats:
        """Numbers of each text, (n, width); NaN where it is missing."""
        found = np.empty((len(texts), self.width))
        for start in range(0, len(texts), _BLOCK):
            part = texts[start : start + _BLOCK]
            found[start : start + len(part)] = self._block(part)
        return found

    def _block(self, texts: Sequence[str | None]) -> Floats:
        rows, buckets, counts = _grams([t or "" for t in texts])
        found = np.zeros((len(texts), self.width))
        if len(rows):
            values = _weighed(rows, buckets, counts, self.weights, len(texts))
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            parts = values[:, None] * self.components[buckets].astype(np.float64)
            found[rows[starts], :-1] = np.add.reduceat(parts, starts, axis=0)
        found[:, -1] = np.log1p([len(t or "") for t in texts])
        found[[t is None for t in texts]] = np.nan
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain values; ``from_json`` reads them."""
        return {
            "weights": _packed(self.weights.astype("<f4")),
            "components": _packed(self.components.astype("<f2")),
            "numbers": self.components.shape[1],
        }

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> TextEncoder:
        """From what ``to_json`` gave; ValueError where it isn't that."""
        try:
            weights = np.frombuffer(base64.b64decode(tree["weights"]), "<f4")
            components = np.frombuffer(base64.b64decode(tree["components"]), "<f2")
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        shaped = components.reshape(_BUCKETS, int(tree["numbers"]))
        return cls(weights.reshape(_BUCKETS).astype(np.float32), shaped.astype(np.float16))


def _grams(
    texts: Sequence[str],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Text, bucket and count of every n-gram that occurs, sorted by text and bucket."""
    # Blanks around, so that beginnings and ends of words have n-grams of their own.
    plain = [f" {' '.join(t[:_LONGEST].lower().split())} ".encode() for t in texts]
    letters = np.frombuffer(b"".join(plain), np.uint8).astype(np.uint32)
    owner = np.repeat(np.arange(len(plain)), [len(p) for p in plain])
    keys = []
    for length in _LENGTHS:
        starts = len(letters) - length + 1
        if starts < 1:
            continue
        hashed = np.full(starts, 2_166_136_261 + length, dtype=np.uint32)
        for i in range(length):  # FNV-1a, which wraps around
            hashed = (hashed ^ letters[i : i + starts]) * np.uint32(16_777_619)
        hashed ^= hashed >> np.uint32(15)
        inside = owner[:starts] == owner[length - 1 : length - 1 + starts]
        keys.append(owner[:starts][inside] * _BUCKETS + (hashed[inside] % _BUCKETS))
    if not keys:
        nothing = np.zeros(0, dtype=np.intp)
        return nothing, nothing, nothing
    key, counts = np.unique(np.concatenate(keys), return_counts=True)
    return (key // _BUCKETS).astype(np.intp), (key % _BUCKETS).astype(np.intp), counts


def _weighed(
    rows: npt.NDArray[np.intp],
    buckets: npt.NDArray[np.intp],
    counts: npt.NDArray[np.intp],
    weights: npt.NDArray[np.float32],
    texts: int,
) -> Floats:
    """tf-idf of each n-gram, each text's of length 1."""
    values = (1 + np.log(counts)) * weights[buckets]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=texts))
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0)[rows])


def _components(
    rows: npt.NDArray[np.intp], buckets: npt.NDArray[np.intp], values: Floats, texts: int
) -> npt.NDArray[np.float16]:
    from scipy.sparse import csr_array
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    numbers = min(_NUMBERS, texts - 1, len(np.unique(buckets)) - 1)
    if numbers < 1:
        return np.zeros((_BUCKETS, 0), dtype=np.float16)
    table = csr_array((values, (rows, buckets)), shape=(texts, _BUCKETS))
    # BLAS splits sums by the number of threads, and so rounds otherwise with another number.
    with threadpool_limits(limits=1, user_api="blas"):
        _, strengths, found = randomized_svd(table, numbers, random_state=0)
    # Few different texts have fewer components: the others are rounding.
    real = strengths > _LEAST * strengths.max()
    # In units of their own spread, which a half can hold.
    spread = strengths[real] / np.sqrt(texts)
    return np.asarray((found[real] / spread[:, None]).T, dtype=np.float16)


def _packed(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
