"""Multilayer perceptron, fitted with scikit-learn's Adam and scored with NumPy.

Inputs and learning rate schedule are those of RealMLP (D. Holzmüller et al., "Better by default:
strong pre-tuned MLPs and boosted trees on tabular data", NeurIPS 2024). Numbers are centred on the
median, divided by the interquartile range and softly clipped. Categories are one-hot encoded.
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
from mlops_cli.params.tune import Dimension

__all__ = ["FAMILY"]

Layer = tuple[Floats, Floats]
"""Weights (in, out) and biases (out,)."""

_FACTS, _ARRAYS = "model.json", "weights.npz"
_EPOCHS = 30
_LAYERS = 2
_BATCHES, _MIN_BATCH, _MAX_BATCH = 40, 64, 512
"""Approximate number of batches in an epoch, and the range of their sizes in rows."""
_OCCLUSION_ROWS = 500


@dataclass(frozen=True)
class _OutputScale:
    """Conversion between raw scores and labels or predictions.

    Attributes
    ----------
    loss, classes
        As in ``TaskInfo``.
    present
        Codes of the classes in the training rows.
    centre, scale
        For regression: mean and standard deviation of the target, with which scores are scaled.
    """

    loss: str
    classes: int
    present: tuple[int, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def from_labels(cls, y: npt.NDArray[Any], task: TaskInfo) -> _OutputScale:
        """Build the conversion from class codes or values (n,)."""
        if task.classes:
            present = tuple(np.unique(y.astype(np.int64)).tolist())
            return cls(task.loss, task.classes, present)
        return cls(task.loss, 0, (), float(np.mean(y)), float(np.std(y)) or 1.0)

    def encode_labels(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Labels for the network (n,): class numbers from 0, or scaled values."""
        if self.classes:
            return np.searchsorted(self.present, y)
        return ((y - self.centre) / self.scale).astype(np.float32)

    def to_predictions(self, scores: Floats) -> Floats:
        """Turn raw scores (n, outputs) into predictions, as in ``FittedModel.predict``."""
        if not self.classes:
            scores = scores * self.scale + self.centre
        return to_predictions(scores, self.loss, np.array(self.present), self.classes)


@dataclass(frozen=True)
class _Network:
    """A fitted network: layers from inputs to raw scores, output scale, feature importances."""

    inputs: MlpInputs
    layers: tuple[Layer, ...]
    output_scale: _OutputScale
    weights: tuple[float, ...]
    iterations: int

    @property
    def importances(self) -> Floats:
        """Mean change of raw scores without a feature (occlusion; Zeiler and Fergus 2014)."""
        return normalise(np.array(self.weights))

    @cached_property
    def _first_layer(self) -> Callable[[Floats], Floats]:
        return self.inputs.layer(*self.layers[0])

    def predict(self, X: Floats) -> Floats:
        values = self._first_layer(X)
        for weights, biases in self.layers[1:]:
            # Not BLAS: its sums depend on the number of rows, and a row's score must not.
            values = np.einsum("ij,jk->ik", np.maximum(values, 0.0), weights) + biases
        return self.output_scale.to_predictions(values)

    def to_files(self) -> dict[str, bytes]:
        facts = {
            "inputs": self.inputs.to_json(),
            "meaning": vars(self.output_scale),
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
    inputs, output_scale = (
        MlpInputs.fit(X, task.categorical),
        _OutputScale.from_labels(request.y, task),
    )
    train_inputs, targets = inputs.transform(X), output_scale.encode_labels(request.y)
    held_out = inputs.transform(watch.X) if watch else train_inputs[:0]
    rounds = Rounds(watch, total) if watch else None
    model = _new_model(request)
    rate, best = float(request.settings["learning_rate"]), 0
    layers: tuple[Layer, ...] = ()
    # BLAS splits sums by the number of threads, so rounding depends on that number.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that hasn't converged shows in its score
        for done in range(1, total + 1):
            _run_epoch(
                model,
                train_inputs,
                targets,
                request.weight,
                rate * _cosine_schedule((done - 1) / total),
            )
            if done == 1 and seconds is not None:
                # A short schedule that ends is better than a long one that is cut off.
                total = max(1, min(total, int(seconds / (time.monotonic() - began))))
            stop = done == total
            if rounds is not None:
                stop |= rounds.record(
                    done, output_scale.to_predictions(_raw_scores(_copy_layers(model), held_out))
                )
            if stop if rounds is None else rounds.best == done:
                best, layers = done, _copy_layers(model)
            if stop:
                break
        return _Network(
            inputs, layers, output_scale, _occlusion_changes(inputs, train_inputs, layers), best
        )


def _new_model(request: FitRequest) -> Any:
    from sklearn import neural_network

    settings, rows = request.settings, len(request.X)
    role = "Classifier" if request.task.classes else "Regressor"
    return getattr(neural_network, "MLP" + role)(
        hidden_layer_sizes=(int(settings["width"]),) * _LAYERS,
        alpha=float(settings["penalty"]),
        batch_size=min(rows, max(_MIN_BATCH, min(rows // _BATCHES, _MAX_BATCH))),
        # One generator for all epochs: with a seed, each epoch would shuffle rows the same way.
        random_state=np.random.RandomState(request.seed),
    )


def _run_epoch(
    model: Any, inputs: Any, targets: npt.NDArray[Any], weight: Floats | None, rate: float
) -> None:
    """One pass over all rows with a learning rate."""
    more = {"classes": np.unique(targets)} if hasattr(model, "predict_proba") else {}
    if hasattr(model, "_optimizer"):
        model._optimizer.learning_rate_init = rate  # noqa: SLF001  # it has no public schedule
        more = {}
    else:
        model.set_params(learning_rate_init=rate)
    model.partial_fit(inputs, targets, sample_weight=weight, **more)


def _cosine_schedule(share: float) -> float:
    """Learning rate after a share of the epochs: from 1 along a cosine to 0."""
    return (1.0 + math.cos(math.pi * share)) / 2


def _copy_layers(model: Any) -> tuple[Layer, ...]:
    """A copy of the layers, rounded to single precision as in the saved model."""
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return tuple(
        (np.array(w, np.float32).astype(np.float64), np.array(b, np.float32).astype(np.float64))
        for w, b in pairs
    )


def _raw_scores(layers: Sequence[Layer], inputs: npt.NDArray[Any]) -> Floats:
    """Raw scores (n, outputs) of inputs, computed with BLAS."""
    weights, biases = layers[0]
    return _remaining_layers(inputs @ weights + biases, layers)


def _remaining_layers(first: Floats, layers: Sequence[Layer]) -> Floats:
    """Raw scores (n, outputs) from the first layer's values, computed with BLAS."""
    values = first
    for weights, biases in layers[1:]:
        values = np.maximum(values, 0.0) @ weights + biases
    return values


def _occlusion_changes(
    inputs: MlpInputs, all_inputs: npt.NDArray[Any], layers: Sequence[Layer]
) -> tuple[float, ...]:
    """Mean change of the scores if a feature's inputs are set to their mean, per feature."""
    sample = all_inputs[:: len(all_inputs) // _OCCLUSION_ROWS + 1].astype(np.float64)
    weights, biases = layers[0]
    deviations = all_inputs.mean(axis=0) - sample
    first = sample @ weights + biases
    before = _remaining_layers(first, layers)
    by_feature = np.argsort(inputs.feature_of_input, kind="stable")
    ends = np.searchsorted(inputs.feature_of_input[by_feature], np.arange(inputs.features + 1))
    changes = []
    for start, end in pairwise(ends):
        columns = by_feature[start:end]
        # Only the feature's part of the first layer changes; the rest isn't computed again.
        after = _remaining_layers(first + deviations[:, columns] @ weights[columns], layers)
        changes.append(float(np.abs(after - before).mean()))
    return tuple(round(change, 9) for change in changes)


def _from_files(files: Mapping[str, bytes]) -> _Network:
    facts = json.loads(files[_FACTS])
    output_scale = _OutputScale(**facts["meaning"])
    output_scale = replace(output_scale, present=tuple(map(int, output_scale.present)))
    with np.load(io.BytesIO(files[_ARRAYS]), allow_pickle=False) as stored:
        arrays = [stored[f"arr_{i}"].astype(np.float64) for i in range(len(stored.files))]
    layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
    inputs = MlpInputs.from_json(facts["inputs"])
    _check_shapes(inputs, layers, output_scale)
    weights = tuple(map(float, facts["weights"]))
    return _Network(inputs, layers, output_scale, weights, int(facts["iterations"]))


def _check_shapes(inputs: MlpInputs, layers: Sequence[Layer], output_scale: _OutputScale) -> None:
    """Raise ValueError if the layers don't fit the inputs, each other or the classes."""
    width = len(inputs.feature_of_input)
    for weights, biases in layers:
        if weights.shape != (width, *biases.shape) or not np.isfinite(weights).all():
            msg = f"a layer of shape {weights.shape} behind one of width {width}"
            raise ValueError(msg)
        width = len(biases)
    if width != (len(output_scale.present) if len(output_scale.present) > 2 else 1):  # noqa: PLR2004
        msg = f"{width} outputs for {len(output_scale.present)} classes"
        raise ValueError(msg)


def _count_steps(settings: Settings, rounds: int | None, classes: int) -> float:  # noqa: ARG001
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
    steps=_count_steps,
)
