"""Text encoder: TF-IDF of hashed byte n-grams, reduced to a few numbers by a truncated SVD.

The method is latent semantic analysis (Deerwester et al. 1990) of n-grams, as in skrub's
StringEncoder. The hash is implemented in NumPy: a table and a single row are encoded by the same
code, with the same bits, and scoring needs no other library.
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
_NGRAM_LENGTHS = (3, 4)
_MAX_COMPONENTS = 20
_MAX_FIT_TEXTS = 10_000
_MAX_CHARACTERS = 2_000
"""Characters of a text that are read."""
_MIN_STRENGTH = 1e-3
"""Smallest singular value of a component, as a share of the largest."""
_BLOCK = 500
"""Texts that are encoded at a time, which bounds the memory."""


@dataclass(frozen=True)
class TextEncoder:
    """A fitted map from a text to numbers; the last one is the text's length.

    Parameters
    ----------
    weights
        Inverse document frequency of each bucket (buckets,); 0 for buckets of a single text.
    components
        SVD components (buckets, numbers), in half precision.
    """

    weights: npt.NDArray[np.float32]
    components: npt.NDArray[np.float16]

    @classmethod
    def fit(cls, texts: Sequence[str | None]) -> TextEncoder:
        """Fit to at most ``_MAX_FIT_TEXTS`` texts, evenly spaced."""
        present = [t for t in texts if t is not None]
        present = present[:: -(-len(present) // _MAX_FIT_TEXTS) or 1]
        rows, buckets, counts = _count_ngrams(present)
        document_counts = np.bincount(buckets, minlength=_BUCKETS)
        weights = np.log((1 + len(present)) / (1 + document_counts)) + 1
        # An n-gram of a single text has nothing in common with other texts.
        weights = np.where(document_counts > 1, weights, 0.0).astype(np.float32)
        values = _tf_idf(rows, buckets, counts, weights, len(present))
        return cls(weights, _fit_components(rows, buckets, values, len(present)))

    @property
    def width(self) -> int:
        """Number of columns of an encoded text."""
        return int(self.components.shape[1]) + 1

    def transform(self, texts: Sequence[str | None]) -> Floats:
        """Encode texts as (n, width); NaN where a text is missing."""
        encoded = np.empty((len(texts), self.width))
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            encoded[start : start + len(block)] = self._transform_block(block)
        return encoded

    def _transform_block(self, texts: Sequence[str | None]) -> Floats:
        rows, buckets, counts = _count_ngrams([t or "" for t in texts])
        encoded = np.zeros((len(texts), self.width))
        if len(rows):
            values = _tf_idf(rows, buckets, counts, self.weights, len(texts))
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            contributions = values[:, None] * self.components[buckets].astype(np.float64)
            encoded[rows[starts], :-1] = np.add.reduceat(contributions, starts, axis=0)
        encoded[:, -1] = np.log1p([len(t or "") for t in texts])
        encoded[[t is None for t in texts]] = np.nan
        return encoded

    def to_json(self) -> dict[str, Any]:
        """The encoder as plain values, which ``from_json`` reads."""
        return {
            "weights": _to_base64(self.weights.astype("<f4")),
            "components": _to_base64(self.components.astype("<f2")),
            "numbers": self.components.shape[1],
        }

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> TextEncoder:
        """Build an encoder from the values of ``to_json``; ValueError if they are malformed."""
        try:
            weights = np.frombuffer(base64.b64decode(tree["weights"]), "<f4")
            components = np.frombuffer(base64.b64decode(tree["components"]), "<f2")
        except binascii.Error as error:
            raise ValueError(str(error)) from None
        shaped = components.reshape(_BUCKETS, int(tree["numbers"]))
        return cls(weights.reshape(_BUCKETS).astype(np.float32), shaped.astype(np.float16))


def _count_ngrams(
    texts: Sequence[str],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Text, bucket and count of every n-gram that occurs, sorted by text and bucket."""
    # Blanks around the text, so that the first and last word have n-grams with a blank, too.
    contents = [f" {' '.join(t[:_MAX_CHARACTERS].lower().split())} ".encode() for t in texts]
    values = np.frombuffer(b"".join(contents), np.uint8).astype(np.uint32)
    owner = np.repeat(np.arange(len(contents)), [len(p) for p in contents])
    keys = []
    for length in _NGRAM_LENGTHS:
        starts = len(values) - length + 1
        if starts < 1:
            continue
        hashes = np.full(starts, 2_166_136_261 + length, dtype=np.uint32)
        for i in range(length):  # FNV-1a, which wraps around
            hashes = (hashes ^ values[i : i + starts]) * np.uint32(16_777_619)
        hashes ^= hashes >> np.uint32(15)
        same_text = owner[:starts] == owner[length - 1 : length - 1 + starts]
        keys.append(owner[:starts][same_text] * _BUCKETS + (hashes[same_text] % _BUCKETS))
    if not keys:
        empty = np.zeros(0, dtype=np.intp)
        return empty, empty, empty
    key, counts = np.unique(np.concatenate(keys), return_counts=True)
    return (key // _BUCKETS).astype(np.intp), (key % _BUCKETS).astype(np.intp), counts


def _tf_idf(
    rows: npt.NDArray[np.intp],
    buckets: npt.NDArray[np.intp],
    counts: npt.NDArray[np.intp],
    weights: npt.NDArray[np.float32],
    texts: int,
) -> Floats:
    """TF-IDF of each n-gram, normalised to length 1 for each text."""
    values = (1 + np.log(counts)) * weights[buckets]
    lengths = np.sqrt(np.bincount(rows, weights=values**2, minlength=texts))
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0)[rows])


def _fit_components(
    rows: npt.NDArray[np.intp], buckets: npt.NDArray[np.intp], values: Floats, texts: int
) -> npt.NDArray[np.float16]:
    from scipy.sparse import csr_array
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    numbers = min(_MAX_COMPONENTS, texts - 1, len(np.unique(buckets)) - 1)
    if numbers < 1:
        return np.zeros((_BUCKETS, 0), dtype=np.float16)
    matrix = csr_array((values, (rows, buckets)), shape=(texts, _BUCKETS))
    # BLAS splits sums by the number of threads, so rounding depends on that number.
    with threadpool_limits(limits=1, user_api="blas"):
        _, singular_values, components = randomized_svd(matrix, numbers, random_state=0)
    # A few distinct texts have fewer components; the others are rounding errors.
    significant = singular_values > _MIN_STRENGTH * singular_values.max()
    # Scaled by their standard deviation, to values that half precision can hold.
    spread = singular_values[significant] / np.sqrt(texts)
    return np.asarray((components[significant] / spread[:, None]).T, dtype=np.float16)


def _to_base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
