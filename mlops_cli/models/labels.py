"""Label codec: class codes for classification, floats for regression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_cli.errors import DataRefused, nearest

if TYPE_CHECKING:
    from mlops_cli.metrics.costs import Label

__all__ = ["MAX_CLASSES", "LabelCodec"]

MAX_CLASSES = 1000
"""A target with more distinct values than this is a quantity, not a class."""
_LARGEST = 1e15
"""The largest regression target, in absolute value."""


@dataclass(frozen=True)
class LabelCodec:
    """A fitted map between a target's labels and their codes.

    Parameters
    ----------
    type
        binary, multiclass or regression.
    classes
        The class of each code, sorted; for a binary task the positive class is last. Empty for
        regression.
    """

    type: str
    classes: tuple[Label, ...] = ()

    @classmethod
    def fit(cls, target: pl.Series, task_type: str, positive: Label | None = None) -> LabelCodec:
        """Learn the classes of a target without nulls.

        Raises
        ------
        DataRefused
            If the target doesn't fit the task: it isn't numeric, has one class, too many or not
            two classes, or lacks the positive class.
        """
        if task_type == "regression":
            _refuse_non_numeric(target)
            return cls(task_type)
        classes = target.unique().sort().to_list()
        if len(classes) == 1:
            raise DataRefused(
                f"target has one class: {classes[0]!r} in all {len(target)} training rows",
                "Check the target expression, and that each split has rows of every class.",
            )
        if len(classes) > MAX_CLASSES:
            raise DataRefused(
                f"target has {len(classes)} classes, and at most {MAX_CLASSES} can be learnt",
                "If it is a quantity, set task.type to regression.",
            )
        if task_type == "binary":
            classes = _order_binary(classes, positive)
        return cls(task_type, tuple(classes))

    def encode(self, target: pl.Series, rows_name: str = "the data") -> npt.NDArray[Any]:
        """Codes (n,) int64 of a classification target, or values (n,) float64.

        Raises
        ------
        DataRefused
            If the target has a class that the codec wasn't fitted on.
        """
        if not self.classes:
            _refuse_non_numeric(target)
            return target.cast(pl.Float64).to_numpy()
        codes = {label: code for code, label in enumerate(self.classes)}
        values = target.unique().sort().to_list()
        unseen = [v for v in values if v not in codes]
        if unseen:
            count = int(target.is_in(unseen).sum())
            raise DataRefused(
                f"class {unseen[0]!r} is in {rows_name} ({count} rows) and not in the training "
                "rows",
                "Split so that each class is in every split (split.strategy: stratified), or merge "
                "rare classes in the target expression.",
            )
        codes_of_values = [codes[v] for v in values]
        return target.replace_strict(values, codes_of_values, return_dtype=pl.Int64).to_numpy()

    def decode(self, codes: npt.NDArray[np.int64]) -> list[Label]:
        """The class of each code (n,)."""
        return [self.classes[c] for c in codes.tolist()]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes as text, in the order of their codes; booleans are true and false."""
        return tuple(str(c).lower() if isinstance(c, bool) else str(c) for c in self.classes)

    def to_json(self) -> dict[str, Any]:
        """The codec as plain values, which ``from_json`` reads."""
        return {"type": self.type, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> LabelCodec:
        """Build a codec from the values of ``to_json``.

        Raises
        ------
        DataRefused
            If the classes have several types, or their number doesn't fit the task.
        """
        task_type, classes = tree["type"], tuple(tree["classes"])
        types = {type(label) for label in classes}
        least, most = {"regression": (0, 0), "binary": (2, 2)}.get(task_type, (1, MAX_CLASSES))
        if (
            not least <= len(set(classes)) == len(classes) <= most
            or not (len(types) <= 1 or types == {int, float})
            or not types <= {bool, int, float, str}
        ):
            raise DataRefused(
                f"{len(classes)} labels ({_preview(list(classes))[:200]}) can't be those of a "
                f"{task_type} model",
                "Bring the model back with `dvc checkout`, or train it again with `mlops run`.",
            )
        return cls(task_type, classes)


def _order_binary(classes: list[Any], positive: Label | None) -> list[Any]:
    if positive is not None and positive not in classes:
        # `positive: "1"` means the class 1, if only one class has this text.
        matches = [c for c in classes if str(c).lower() == str(positive).lower()]
        positive = matches[0] if len(matches) == 1 else positive
    if positive is not None and positive not in classes:
        raise DataRefused(
            f"task.positive is {positive!r}, and the target's classes are {_preview(classes)}",
            nearest(str(positive), [str(c) for c in classes]),
        )
    if len(classes) != 2:  # noqa: PLR2004
        raise DataRefused(
            f"a binary target has two classes, and this one has {len(classes)}: "
            f"{_preview(classes)}",
            "Set task.type to multiclass, or make the target expression a condition.",
        )
    if positive is not None and positive == classes[0]:
        return classes[::-1]
    return classes


def _preview(classes: list[Any]) -> str:
    return ", ".join(repr(c) for c in classes[:10]) + (", ..." if len(classes) > 10 else "")  # noqa: PLR2004


def _refuse_non_numeric(target: pl.Series) -> None:
    if not target.dtype.is_numeric():
        example = target[0] if len(target) else None
        raise DataRefused(
            f"a regression target is a number, not {target.dtype} (such as {example!r})",
            "Make the target expression numeric, or set task.type to binary or multiclass.",
        )
    values = target.cast(pl.Float64)
    invalid = int((~values.is_finite()).sum())
    if invalid:
        raise DataRefused(
            f"the regression target is infinite or not a number in {invalid} rows",
            "Give null where there is no label: such rows are counted and left out.",
        )
    largest = values.abs().max()
    if isinstance(largest, float) and largest > _LARGEST:
        raise DataRefused(
            f"the regression target reaches {largest:g} in size, and at most {_LARGEST:g} can be "
            "fitted: the libraries keep labels and squared errors as 32-bit floats",
            "Divide it in featurize.target, such as amount / 1e12.",
        )
