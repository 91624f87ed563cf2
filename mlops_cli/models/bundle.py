"""Model bundle: a self-describing, checksummed folder that loads without pickle."""

from __future__ import annotations

import hashlib
import json
import posixpath
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.data.atomic_files import atomic_write, json_text, sha256, write_json
from mlops_cli.data.untrusted import data_path, json_tree, refuse_malformed
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.metrics.classification import decide
from mlops_cli.models.calibration import Calibrator
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FittedModel
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.load_trial import try_in_child

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

__all__ = ["Bundle", "Member", "extend", "load", "save", "verify"]

_FORMAT = 1
_MANIFEST = "manifest.json"
_TASKS = ("binary", "multiclass", "regression")
_HINT = "Bring the model back with `dvc checkout`, or train it again with `mlops run`."


@dataclass(frozen=True)
class Member:
    """One fitted model of a bundle, with its weight in the mean prediction."""

    family: str
    fitted: FittedModel
    weight: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    iterations: int | None = None


@dataclass(frozen=True)
class Bundle:
    """A model with everything that turns features into predictions, and its metadata.

    Parameters
    ----------
    members
        One or several models; the prediction is their weighted mean.
    encoder
        Turns features into the matrix.
    labels
        The classes of a prediction's columns.
    task
        The task's type: binary, multiclass or regression.
    threshold
        Binary tasks: the positive class is predicted at this probability and above.
    calibrator
        Applied to the members' mean; None: the mean is the prediction.
    program
        The feature program that computes the features.
    signature
        ``inputs``: feature -> kind, and categories or range; ``output``.
    facts
        The model's lineage: seed, data window, versions, validation score.
    sha256
        Hash of the verified manifest; empty if the bundle wasn't loaded from a folder.

    Examples
    --------
    >>> import polars as pl
    >>> from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
    >>> rows = pl.DataFrame({"km": [1.0, 2.0, 8.0, 9.0], "late": [False, False, True, True]})
    >>> encoder = Encoder.fit(rows, {"km": "number"})
    >>> labels = LabelCodec.fit(rows["late"], "binary")
    >>> X, y = encoder.transform(rows), labels.encode(rows["late"])
    >>> settings = {name: one.default for name, one in FAMILIES["linear"].space.items()}
    >>> task = TaskInfo("binary", 2, encoder.categorical)
    >>> model = FAMILIES["linear"].fit(FitRequest(X, y, task, settings, seed=0, rounds=None))
    >>> bundle = Bundle((Member("linear", model),), encoder, labels, "binary", threshold=0.5)
    >>> bundle.decide(bundle.predict(rows)).tolist()
    [0, 0, 1, 1]
    """

    members: tuple[Member, ...]
    encoder: Encoder
    labels: LabelCodec
    task: str
    threshold: float | None = None
    calibrator: Calibrator | None = None
    program: Mapping[str, Any] = field(default_factory=dict)
    signature: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = field(default="", compare=False)

    def predict(self, frame: pl.DataFrame) -> npt.NDArray[np.float64]:
        """Probabilities (rows, classes), or values (rows,) for regression.

        Raises
        ------
        DataRefused
            If the frame lacks a feature, or has it in a wrong type.
        """
        return self.predict_matrix(self.encoder.transform(frame))

    def predict_matrix(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Predict from the encoder's matrix (rows, features); the result is as in ``predict``."""
        parts = [member.weight * member.fitted.predict(X) for member in self.members]
        total: npt.NDArray[np.float64] = np.sum(parts, axis=0)
        mean = total / sum(member.weight for member in self.members)
        return mean if self.calibrator is None else self.calibrator(mean)

    def decide(self, output: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        """Class codes (rows,) of probabilities (rows, classes).

        The result is the positive class at ``threshold`` and above, or without a threshold the
        most probable class.
        """
        if self.threshold is None:
            return decide(output)
        return (output[:, 1] >= self.threshold).astype(np.intp)


def save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle atomically; the same model gives the same bytes."""
    with atomic_write(folder) as temporary:
        temporary.mkdir()
        write_json(temporary / "bundle.json", _describe(bundle))
        write_json(temporary / "encoder.json", bundle.encoder.to_json())
        write_json(temporary / "program.json", bundle.program)
        write_json(temporary / "signature.json", bundle.signature)
        for number, member in enumerate(bundle.members):
            member_folder = temporary / _member_folder(number, member.family)
            member_folder.mkdir(parents=True)
            for name, content in member.fitted.to_files().items():
                (member_folder / name).write_bytes(content)
        write_json(temporary / _MANIFEST, _manifest(_hash_files(temporary)))


def extend(folder: Path, target: Path, extra_files: Mapping[str, str]) -> dict[str, Any]:
    """Copy a verified bundle, add files, and return the new manifest.

    Parameters
    ----------
    folder
        The bundle to copy; it isn't changed.
    target
        The folder of the extended bundle, written atomically.
    extra_files
        Name -> text of each added file; loading a bundle doesn't read them.

    Raises
    ------
    NotFound, DataRefused
        If the bundle is missing, or was changed after it was written.
    """
    names = list(verify(folder)["files"])
    with atomic_write(target) as temporary:
        for name in names:
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Copies the content only, as a file that DVC linked from its cache is read-only.
            shutil.copyfile(folder / name, path)
        for name, text in extra_files.items():
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
        manifest = _manifest(_hash_files(temporary))
        write_json(temporary / _MANIFEST, manifest)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Compare every file with the manifest, and return the manifest.

    Raises
    ------
    NotFound
        If there is no bundle.
    DataRefused
        If a file is missing, was changed, or doesn't belong there.
    """
    manifest = _read_json(folder, _MANIFEST)
    try:
        listed = {
            data_path(name, str(folder / _MANIFEST)): dict(entry)
            for name, entry in manifest["files"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        raise DataRefused(f"{folder / _MANIFEST} is not a bundle's manifest", _HINT) from None
    # Checked first: a manifest with a wrong hash can't say which file was changed.
    if manifest.get("bundle_sha256") != _digest(listed):
        raise DataRefused(f"{folder / _MANIFEST} was changed after the model was written", _HINT)
    actual = _hash_files(folder)
    for name in sorted(listed.keys() | actual.keys()):
        if name not in actual:
            raise DataRefused(f"{folder / name} is missing from the model bundle", _HINT)
        if name not in listed:
            raise DataRefused(f"{folder / name} doesn't belong to the model bundle", _HINT)
        if listed[name] != actual[name]:
            raise DataRefused(f"{folder / name} was changed after the model was written", _HINT)
    # The manifest itself is compared byte by byte, as it lists no hash of itself.
    if (folder / _MANIFEST).read_bytes() != json_text(_manifest(actual)).encode():
        raise DataRefused(f"{folder / _MANIFEST} was changed after the model was written", _HINT)
    return dict(manifest)


def load(folder: Path, *, in_child_process: bool = False) -> Bundle:
    """Verify a bundle and load it.

    If only a model's own library can read its file, a child process loads the bundle first.

    Parameters
    ----------
    folder
        Folder of the bundle.
    in_child_process
        Skip the child process, as this process is the child.

    Raises
    ------
    NotFound
        If there is no bundle.
    DataRefused
        If it was changed after it was written, or holds what no model of ours holds.
    """
    manifest = verify(folder)
    names = manifest["files"]
    description = _read_json(folder, "bundle.json")
    if description.get("format") != _FORMAT:
        raise DataRefused(
            f"{folder} is of bundle format {description.get('format')!r}, not {_FORMAT}",
            "Use the version of mlops-cli that wrote it (see versions in bundle.json).",
        )
    with refuse_malformed(f"the model bundle in {folder}", _HINT):
        calibrator = description["calibrator"]
        _refuse_mistyped(description)
        families = [FAMILIES.get(entry["family"]) for entry in description["members"]]
        if not in_child_process and any(
            f is not None and f.unsafe_format and f.installed for f in families
        ):
            try_in_child(folder, manifest["bundle_sha256"])
        bundle = Bundle(
            members=tuple(
                _load_member(folder, number, entry, names)
                for number, entry in enumerate(description["members"])
            ),
            encoder=_load_encoder(folder),
            labels=LabelCodec.from_json(description["labels"]),
            task=description["task"],
            threshold=description["threshold"],
            calibrator=calibrator and Calibrator.from_json(calibrator),
            program=_read_json(folder, "program.json"),
            signature=_read_json(folder, "signature.json"),
            facts=description["facts"],
            sha256=manifest["bundle_sha256"],
        )
        _refuse_misshapen(bundle)
    return bundle


def _refuse_misshapen(bundle: Bundle) -> None:
    """Refuse parts that don't fit together, by predicting one row of missing values."""
    labels = bundle.labels
    if labels.type != bundle.task:
        raise TypeError(f"labels of the task {labels.type!r}, and a model of {bundle.task!r}")
    row = np.full((1, len(bundle.encoder.feature_of_column)), np.nan)
    expected = (1, len(labels.classes)) if labels.classes else (1,)
    predictors = [*(member.fitted.predict for member in bundle.members), bundle.predict_matrix]
    for predict in predictors:
        shape = np.shape(predict(row))
        if shape != expected:
            raise ValueError(f"a prediction of the shape {shape} instead of {expected}")


def _refuse_mistyped(description: Mapping[str, Any]) -> None:
    """Refuse wrong types of the description's values that are used without conversion."""
    weights = [m["weight"] for m in description["members"]]
    threshold, facts = description["threshold"], description["facts"]
    numbers = weights + ([] if threshold is None else [threshold])
    valid = (
        description["task"] in _TASKS
        and all(type(number) in {int, float} for number in numbers)
        and weights
        and all(0 < weight < float("inf") for weight in weights)
        and isinstance(facts, dict)
        and all(isinstance(m["settings"], dict) for m in description["members"])
    )
    if not valid:
        raise TypeError("a task, weight, threshold, settings or facts of another type")


def _describe(bundle: Bundle) -> dict[str, Any]:
    members = [
        {
            "family": m.family,
            "weight": m.weight,
            "settings": dict(m.settings),
            "iterations": m.iterations,
            "folder": _member_folder(number, m.family),
        }
        for number, m in enumerate(bundle.members)
    ]
    return {
        "format": _FORMAT,
        "task": bundle.task,
        "labels": bundle.labels.to_json(),
        "threshold": bundle.threshold,
        "calibrator": bundle.calibrator and bundle.calibrator.to_json(),
        "members": members,
        "facts": dict(bundle.facts),
    }


def _member_folder(number: int, family: str) -> str:
    return f"members/{number}-{family}"


def _load_encoder(folder: Path) -> Encoder:
    encoder = Encoder.from_json(_read_json(folder, "encoder.json"))
    for name, categories in encoder.categories.items():
        if not all(isinstance(category, str) for category in categories):
            raise DataRefused(
                f"a category of {name!r} in {folder / 'encoder.json'} is no text", _HINT
            )
    return encoder


def _load_member(
    folder: Path, number: int, entry: Mapping[str, Any], names: Mapping[str, Any]
) -> Member:
    name = entry["family"]
    if name not in FAMILIES:
        raise DataRefused(
            f"{folder} holds a model of the family {name!r}, which this version of mlops-cli "
            f"doesn't have (it has {', '.join(FAMILIES)})",
            "Train the model again, or use the version of mlops-cli that wrote it.",
        )
    member_folder = _member_folder(number, name)
    if entry["folder"] != member_folder:
        raise DataRefused(
            f"{folder} has a model in {ascii(entry['folder'])[:100]}, not in {member_folder}", _HINT
        )
    # Reads only files that the manifest lists, as only these were verified.
    paths = [PurePosixPath(n) for n in sorted(names) if posixpath.dirname(n) == member_folder]
    files = {path.name: (folder / path).read_bytes() for path in paths}
    fitted = FAMILIES[name].from_files(files)
    return Member(name, fitted, entry["weight"], entry["settings"], entry["iterations"])


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        tree = json_tree((folder / name).read_bytes(), str(folder / name))
    except FileNotFoundError:
        raise NotFound(
            f"there is no model bundle in {folder}: {name} is missing",
            "Make one with `mlops train`, or bring it back with `dvc checkout`.",
        ) from None
    except OSError as error:
        raise DataRefused(f"{folder / name} cannot be read: {error.strerror}", _HINT) from None
    if not isinstance(tree, dict):
        raise DataRefused(f"{folder / name} is not readable as JSON", _HINT)
    return tree


def _hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of every file below the folder except the manifest, by path."""
    return {
        name: {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in _list_files(folder)
        if (name := path.relative_to(folder).as_posix()) != _MANIFEST
    }


def _list_files(folder: Path) -> list[Path]:
    """All files below a folder; anything else than files and folders is refused.

    A file may be a link, as DVC links files to its cache. A folder may not.
    """
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_dir() and path.is_symlink():
            raise DataRefused(f"{path} is a link to a folder, which no model bundle holds", _HINT)
        if not (path.is_dir() or path.is_file()):
            raise DataRefused(f"{path} is no file, and doesn't belong to a model bundle", _HINT)
    return [path for path in paths if path.is_file()]


def _digest(files: Mapping[str, Any]) -> str:
    """One hash of all names, sizes and hashes, independent of their order in the manifest."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _manifest(files: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": _FORMAT, "bundle_sha256": _digest(files), "files": files}
