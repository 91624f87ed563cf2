"""What a search may try: families' settings with their ranges, and settings to try first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import BadParams, nearest
from mlops_cli.models.families.base import Setting
from mlops_cli.params.modelling import Dimension

if TYPE_CHECKING:
    import optuna

__all__ = ["Candidate", "Space", "as_params", "first_choices", "narrow", "round_setting", "suggest"]

Space = Mapping[str, Setting]

_WORTH = (
    "lightgbm",
    "linear",
    "catboost",
    "extra_trees",
    "mlp",
    "xgboost",
    "forest",
)
"""Families by what their first trial is worth for its time (after N. Erickson et al., "TabArena",
NeurIPS 2025, and the two that differ most from trees and from each other early)."""


@dataclass(frozen=True)
class Candidate:
    """What a trial tries."""

    family: str
    settings: dict[str, Any]


def narrow(space: Space, given: Mapping[str, Dimension], family: str) -> dict[str, Setting]:
    """A family's space with the ranges that ``tune.spaces`` gives in place of its own.

    Raises
    ------
    BadParams
        If the family has no such setting, or it cannot take such values.
    """
    result = dict(space)
    for name, dimension in given.items():
        if name not in space:
            raise BadParams(
                f"tune.spaces.{family} names {name!r}, which is not a setting of {family}",
                nearest(name, space),
            )
        _check(dimension, space[name], f"tune.spaces.{family}.{name}")
        result[name] = Setting(dimension, _within(dimension, space[name].default))
    return result


def first_choices(
    spaces: Mapping[str, Space], portfolios: Mapping[str, Iterable[Mapping[str, Any]]], most: int
) -> list[Candidate]:
    """What is tried before anything is proposed: every family's first choice, then the second.

    Parameters
    ----------
    spaces
        Family -> its settings, whose ranges the choices are moved into.
    portfolios
        Family -> settings that are good on many data sets, the best first.
    most
        So many at most, but each family's first in any case.
    """
    order = sorted(spaces, key=lambda name: _WORTH.index(name) if name in _WORTH else len(_WORTH))
    by_family = [[_into(spaces[n], n, settings) for settings in portfolios[n]] for n in order]
    found: list[Candidate] = []
    for turn in zip_longest(*by_family):
        for candidate in turn:
            if candidate is not None and candidate not in found:
                if len(found) >= max(most, len(spaces)):
                    return found
                found.append(candidate)
    return found


def as_params(candidate: Candidate) -> dict[str, Any]:
    """A candidate as the study knows it: each setting under its family's name."""
    settings = {f"{candidate.family}.{n}": value for n, value in candidate.settings.items()}
    return {"family": candidate.family, **settings}


def _into(space: Space, family: str, settings: Mapping[str, Any]) -> Candidate:
    moved: dict[str, Any] = {}
    for name, setting in space.items():
        value = settings.get(name, setting.default)
        if setting.dimension.choices is None:
            value = type(setting.default)(value)
        moved[name] = _within(setting.dimension, value)
    return Candidate(family, moved)


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
    """A proposed value as it is used: a float to six digits.

    NumPy's logarithms and exponentials, which samplers use, differ in the last bit between
    processors; a search shall try the same on all of them.
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _check(dimension: Dimension, own: Setting, where: str) -> None:
    """Refuse a given range that the setting cannot take."""
    known = own.dimension.choices
    if known is not None:
        strange = [c for c in dimension.choices or (dimension.low,) if c not in known]
        if strange:
            raise BadParams(
                f"{where} gives {strange[0]!r}, which is not one of its choices",
                nearest(str(strange[0]), [str(c) for c in known]),
            )
        return
    given = dimension.choices or (dimension.low, dimension.high)
    kinds = (int,) if isinstance(own.default, int) else (int, float)
    for value in given:
        if isinstance(value, bool) or not isinstance(value, kinds):
            what = "whole numbers" if kinds == (int,) else "numbers"
            raise BadParams(
                f"{where} gives {value!r}, and it takes {what}",
                f"Its own range is {own.dimension.low} to {own.dimension.high}.",
            )


def _within(dimension: Dimension, default: Any) -> Any:
    """The family's default where the given range allows it, else the nearest that it does."""
    if dimension.choices is not None:
        return default if default in dimension.choices else dimension.choices[0]
    # The default's type decides whether the setting is a whole number.
    return type(default)(min(max(default, dimension.low), dimension.high))
