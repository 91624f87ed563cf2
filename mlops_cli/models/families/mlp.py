"""A multilayer perceptron: scikit-learn's Adam fits it, plain arrays score it.

Inputs and the falling step size are those of RealMLP (D. Holzmüller et al., "Better by default:
strong pre-tuned MLPs and boosted trees on tabular data", NeurIPS 2024): numbers less their median,
by their quartiles' distance, softly clipped; categories one-hot.
"""

from __future__ import annotations

import io
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.base import Family, Setting
from mlops_cli.models.families.fit_request import FitRequest, Floats, Settings
from mlops_cli.models.families.mlp_inputs import MlpInputs
from mlops_cli.models.families.outputs import normalise, to_predictions
from mlops_cli.models.families.rounds import Rounds
from mlops_cli.models.families.task_info import TaskInfo
from mlops_cli.params.modelling import Dimension

__all__ = ["FAMILY"]

Layer = tuple[Floats, Floats]
"""Weights (in, out) and biases (out,)."""

_FACTS, _ARRAYS = "model.json", "weights.npz"
_EPOCHS = 30
_LAYERS = 2
_BATCHES, _LEAST_BATCH, _MOST_BATCH = 40, 64, 512
"""About so many steps make an epoch, of so many rows."""
_ROWS_OCCLUDED = 500


@dataclass(frozen=True)
class _Meaning:
    """What raw scores stand for.

    Attributes
    ----------
    loss, classes
        As in ``TaskInfo``.
    present
        Codes of the classes that the fit saw.
    centre, scale
        The value that a score of 0 stands for, and how far from it a score of 1 is.
    """

    loss: str
    classes: int
    present: tuple[int, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, y: npt.NDArray[Any], task: TaskInfo) -> _Meaning:
        """Of a network that learns class codes or values (n,)."""
        if task.classes:
            present = tuple(np.unique(y.astype(np.int64)).tolist())
            return cls(task.loss, task.classes, present)
        return cls(task.loss, 0, (), float(np.mean(y)), float(np.std(y)) or 1.0)

    def taught(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What the network learns (n,): class numbers from 0, or scaled values."""
        if self.classes:
            return np.searchsorted(self.present, y)
        return ((y - self.centre) / self.scale).astype(np.float32)

    def read(self, scores: Floats) -> Floats:
        """Raw scores (n, outputs) as ``FittedModel.predict``."""
        if not self.classes:
            scores = scores * self.scale + self.centre
        return to_predictions(scores, self.loss, np.array(self.present), self.classes)


@dataclass(frozen=True)
class _Network:
    """Layers from inputs to raw scores, what the scores mean, and what each feature weighs."""

    inputs: MlpInputs
    layers: tuple[Layer, ...]
    meaning: _Meaning
    weights: tuple[float, ...]
    iterations: int

    @property
    def importances(self) -> Floats:
        """How much raw scores change if a feature isn't known (occlusion; Zeiler, Fergus 2014)."""
        return normalise(np.array(self.weights))

    @cached_property
    def _first(self) -> Callable[[Floats], Floats]:
        return self.inputs.layer(*self.layers[0])

    def predict(self, X: Floats) -> Floats:
        values = self._first(X)
        for weights, biases in self.layers[1:]:
            # Not BLAS: its sums depend on how many rows there are, and a row shall be scored alike.
            values = np.einsum("ij,jk->ik", np.maximum(values, 0.0), weights) + biases
        return self.meaning.read(values)

    def to_files(self) -> dict[str, bytes]:
        facts = {
            "inputs": self.inputs.to_json(),
            "meaning": vars(self.meaning),
            "weights": self.weights,
            "iterations": self.iterations,
        }
        arrays = [array.astype(np.float32) for layer in self.layers for array in layer]
        content = io.BytesIO()
        np.savez(content, *arrays, allow_pickle=False)
        return {_FACTS: json.dumps(facts).encode(), _ARRAYS: content.getvalue()}


def _fit(request: FitRequest) -> _Network:
    from threadpoolctl import threadpool_limits

    X, task, watch, seconds = request.X, request.task, request.watch, request.seconds
    total = request.rounds or _EPOCHS
    began = time.monotonic()
    inputs, meaning = MlpInputs.fit(X, task.categorical), _Meaning.of(request.y, task)
    made, taught = inputs.transform(X), meaning.taught(request.y)
    held_out = inputs.transform(watch.X) if watch else made[:0]
    rounds = Rounds(watch, total) if watch else None
    model = _model(request)
    rate, best = float(request.settings["learning_rate"]), 0
    layers: tuple[Layer, ...] = ()
    # BLAS splits sums by the number of threads, and so rounds otherwise with another number.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what doesn't converge is judged by its score
        for done in range(1, total + 1):
            _epoch(model, made, taught, request.weight, rate * _falling((done - 1) / total))
            if done == 1 and seconds is not None:
                # With the step size at its end, fewer epochs are worth more than a part of many.
                total = max(1, min(total, int(seconds / (time.monotonic() - began))))
            over = done == total
            if rounds is not None:
                over |= rounds.see(done, meaning.read(_scores(_layers(model), held_out)))
            if over if rounds is None else rounds.best == done:
                best, layers = done, _layers(model)
            if over:
                break
        return _Network(inputs, layers, meaning, _changes(inputs, made, layers), best)


def _model(request: FitRequest) -> Any:
    from sklearn import neural_network

    settings, rows = request.settings, len(request.X)
    role = "Classifier" if request.task.classes else "Regressor"
    return getattr(neural_network, "MLP" + role)(
        hidden_layer_sizes=(int(settings["width"]),) * _LAYERS,
        alpha=float(settings["penalty"]),
        batch_size=min(rows, max(_LEAST_BATCH, min(rows // _BATCHES, _MOST_BATCH))),
        # One generator for all epochs: with a number each would take the rows in the same order.
        random_state=np.random.RandomState(request.seed),
    )


def _epoch(
    model: Any, made: Any, taught: npt.NDArray[Any], weight: Floats | None, rate: float
) -> None:
    """One pass over all rows with a step size."""
    more = {"classes": np.unique(taught)} if hasattr(model, "predict_proba") else {}
    if hasattr(model, "_optimizer"):
        model._optimizer.learning_rate_init = rate  # noqa: SLF001  # it has no public schedule
        more = {}
    else:
        model.set_params(learning_rate_init=rate)
    model.partial_fit(made, taught, sample_weight=weight, **more)


def _falling(share: float) -> float:
    """The step size after a share of the epochs, from 1 along a cosine to 0."""
    return (1.0 + math.cos(math.pi * share)) / 2


def _layers(model: Any) -> tuple[Layer, ...]:
    """A copy as it will be saved: in single precision."""
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return tuple(
        (np.array(w, np.float32).astype(np.float64), np.array(b, np.float32).astype(np.float64))
        for w, b in pairs
    )


def _scores(layers: Sequence[Layer], made: npt.NDArray[Any]) -> Floats:
    """Raw scores (n, outputs) of inputs, by BLAS."""
    weights, biases = layers[0]
    return _behind(made @ weights + biases, layers)


def _behind(first: Floats, layers: Sequence[Layer]) -> Floats:
    """Raw scores (n, outputs) of the first layer's values, by BLAS."""
    values = first
    for weights, biases in layers[1:]:
        values = np.maximum(values, 0.0) @ weights + biases
    return values


def _changes(
    inputs: MlpInputs, made: npt.NDArray[Any], layers: Sequence[Layer]
) -> tuple[float, ...]:
    """Per feature: the mean change of the scores where its inputs are at their mean."""
    some = made[:: len(made) // _ROWS_OCCLUDED + 1].astype(np.float64)
    weights, biases = layers[0]
    away = made.mean(axis=0) - some
    first = some @ weights + biases
    before = _behind(first, layers)
    by_feature = np.argsort(inputs.owners, kind="stable")
    ends = np.searchsorted(inputs.owners[by_feature], np.arange(inputs.features + 1))
    found = []
    for start, end in pairwise(ends):
        own = by_feature[start:end]
        # Only its part of the first layer is another: the whole would take as long for each.
        after = _behind(first + away[:, own] @ weights[own], layers)
        found.append(float(np.abs(after - before).mean()))
    return tuple(round(change, 9) for change in found)


def _from_files(files: Mapping[str, bytes]) -> _Network:
    facts = json.loads(files[_FACTS])
    meaning = _Meaning(**facts["meaning"])
    meaning = replace(meaning, present=tuple(map(int, meaning.present)))
    with np.load(io.BytesIO(files[_ARRAYS]), allow_pickle=False) as stored:
        arrays = [stored[f"arr_{i}"].astype(np.float64) for i in range(len(stored.files))]
    layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
    inputs = MlpInputs.from_json(facts["inputs"])
    _check(inputs, layers, meaning)
    weights = tuple(map(float, facts["weights"]))
    return _Network(inputs, layers, meaning, weights, int(facts["iterations"]))


def _check(inputs: MlpInputs, layers: Sequence[Layer], meaning: _Meaning) -> None:
    """ValueError where layers don't fit the inputs, each other or the classes."""
    width = len(inputs.owners)
    for weights, biases in layers:
        if weights.shape != (width, *biases.shape) or not np.isfinite(weights).all():
            msg = f"a layer of shape {weights.shape} behind one of width {width}"
            raise ValueError(msg)
        width = len(biases)
    if width != (len(meaning.present) if len(meaning.present) > 2 else 1):  # noqa: PLR2004
        msg = f"{width} outputs for {len(meaning.present)} classes"
        raise ValueError(msg)


def _steps(settings: Settings, rounds: int | None, classes: int) -> float:  # noqa: ARG001
    return float(settings["width"]) * _LAYERS


FAMILY = Family(
    name="mlp",
    space={
        "learning_rate": Setting(Dimension(low=1e-3, high=5e-2, log=True), 2e-2),
        "width": Setting(Dimension(low=32, high=256, log=True), 128),
        "penalty": Setting(Dimension(low=1e-5, high=1.0, log=True), 3e-2),
    },
    portfolio=(
        {"learning_rate": 1e-2, "penalty": 0.3},
        {"learning_rate": 1e-2, "penalty": 1e-3},
    ),
    fitter=_fit,
    reader=_from_files,
    rounds=_EPOCHS,
    milliseconds=0.05,
    copies=None,
    steps=_steps,
)
