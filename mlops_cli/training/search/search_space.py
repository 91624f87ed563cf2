"""Search space: settings of the families with their ranges, and candidates to try first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, nearest
from mlops_cli.models.families.base import Setting
from mlops_cli.params.tune import Dimension

if TYPE_CHECKING:
    import optuna

__all__ = ["Candidate", "Space", "as_params", "first_choices", "narrow", "round_setting", "suggest"]

Space = Mapping[str, Setting]

_PRIORITY = (
    "lightgbm",
    "linear",
    "catboost",
    "extra_trees",
    "mlp",
    "xgboost",
    "forest",
)
"""Families in the order of their first trials, by expected score for the time (after N. Erickson et
al., "TabArena", NeurIPS 2025; linear and mlp are early, as they differ most from trees and from
each other)."""


@dataclass(frozen=True)
class Candidate:
    """A family and its settings, which a trial evaluates."""

    family: str
    settings: dict[str, Any]


def narrow(space: Space, ranges: Mapping[str, Dimension], family: str) -> dict[str, Setting]:
    """A family's search space, with its ranges replaced by those of ``tune.spaces``.

    Raises
    ------
    BadParams
        If the family has no such setting, or the setting doesn't allow such values.
    """
    result = dict(space)
    for name, dimension in ranges.items():
        if name not in space:
            raise BadParams(
                f"tune.spaces.{family} names {name!r}, which is not a setting of {family}",
                nearest(name, space),
            )
        _check_range(dimension, space[name], f"tune.spaces.{family}.{name}")
        result[name] = Setting(dimension, _clip(dimension, space[name].default))
    return result


def first_choices(
    spaces: Mapping[str, Space],
    portfolios: Mapping[str, Iterable[Mapping[str, Any]]],
    max_candidates: int,
) -> list[Candidate]:
    """The first candidates: every family's first choice, then every family's second, and so on.

    Parameters
    ----------
    spaces
        Family -> its search space; choices are clipped to its ranges.
    portfolios
        Family -> settings that are good on many data sets, the best first.
    max_candidates
        Maximum number of candidates; each family's first choice is always included.
    """
    order = sorted(
        spaces, key=lambda name: _PRIORITY.index(name) if name in _PRIORITY else len(_PRIORITY)
    )
    by_family = [
        [_clipped_candidate(spaces[n], n, settings) for settings in portfolios[n]] for n in order
    ]
    candidates: list[Candidate] = []
    for choices in zip_longest(*by_family):
        for candidate in choices:
            if candidate is not None and candidate not in candidates:
                if len(candidates) >= max(max_candidates, len(spaces)):
                    return candidates
                candidates.append(candidate)
    return candidates


def as_params(candidate: Candidate) -> dict[str, Any]:
    """A candidate as Optuna parameters: ``family``, and each setting as ``family.setting``."""
    settings = {f"{candidate.family}.{n}": value for n, value in candidate.settings.items()}
    return {"family": candidate.family, **settings}


def _clipped_candidate(space: Space, family: str, settings: Mapping[str, Any]) -> Candidate:
    clipped: dict[str, Any] = {}
    for name, setting in space.items():
        value = settings.get(name, setting.default)
        if setting.dimension.choices is None:
            value = type(setting.default)(value)
        clipped[name] = _clip(setting.dimension, value)
    return Candidate(family, clipped)


def suggest(trial: optuna.Trial, spaces: Mapping[str, Space]) -> Candidate:
    """Let the study's sampler choose a family and its settings."""
    family = trial.suggest_categorical("family", list(spaces))
    settings: dict[str, Any] = {}
    for name, setting in spaces[family].items():
        where, dimension = f"{family}.{name}", setting.dimension
        if dimension.choices is not None:
            settings[name] = trial.suggest_categorical(where, dimension.choices)
        elif isinstance(setting.default, int):
            least, most = int(dimension.low or 0), int(dimension.high or 0)
            settings[name] = trial.suggest_int(where, least, most, log=dimension.log)
        else:
            low, high = float(dimension.low or 0.0), float(dimension.high or 0.0)
            settings[name] = round_setting(trial.suggest_float(where, low, high, log=dimension.log))
    return Candidate(family, settings)


def round_setting(value: Any) -> Any:
    """Round a proposed float to six significant digits; other values are unchanged.

    NumPy's logarithms and exponentials, which samplers use, differ in the last bit between
    processors. With rounding, a search tries the same settings on all of them.
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _check_range(dimension: Dimension, setting: Setting, key: str) -> None:
    """Refuse a range with values that the setting doesn't allow."""
    choices = setting.dimension.choices
    if choices is not None:
        invalid = [c for c in dimension.choices or (dimension.low,) if c not in choices]
        if invalid:
            raise BadParams(
                f"{key} gives {invalid[0]!r}, which is not one of its choices",
                nearest(str(invalid[0]), [str(c) for c in choices]),
            )
        return
    values = dimension.choices or (dimension.low, dimension.high)
    kinds = (int,) if isinstance(setting.default, int) else (int, float)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kinds):
            what = "whole numbers" if kinds == (int,) else "numbers"
            raise BadParams(
                f"{key} gives {value!r}, and it takes {what}",
                f"Its own range is {setting.dimension.low} to {setting.dimension.high}.",
            )


def _clip(dimension: Dimension, default: Any) -> Any:
    """The default if the range contains it, else the nearest value in the range."""
    if dimension.choices is not None:
        return default if default in dimension.choices else dimension.choices[0]
    # The default's type decides whether the setting is a whole number.
    return type(default)(min(max(default, dimension.low), dimension.high))
