"""Lineage of a bundle, and the schema of the tables that its features are computed from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mlops_cli.data.column_types import type_name
from mlops_cli.data.source_schema import SourceSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.params.base import Section
    from mlops_cli.params.validate import SourceRules

__all__ = ["fingerprints", "lineage", "schema"]

_SOURCE_KEYS = ("uri", "sha256", "rows", "time_column", "time_min", "time_max")
_SPLIT_KEYS = ("rows", "time", "target", "target_mean")


def lineage(
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    split: Mapping[str, Any],
    params_sha256: Mapping[str, str],
    fitted_sha256: str,
) -> dict[str, Any]:
    """Hashes and counts from the sources through the settings to the fitted model.

    Parameters
    ----------
    facts
        Facts of the bundle: project, seed, library versions.
    manifest
        Manifest of ingest: the sources by name, and the data clock.
    split
        Report of the split stage: rows, time range and target of each split.
    params_sha256
        Section of the parameters -> its fingerprint.
    fitted_sha256
        ``bundle_sha256`` of the bundle that train wrote.
    """
    return {
        "project": facts.get("project"),
        "clock": manifest["until"],
        "sources": {
            name: {key: source[key] for key in _SOURCE_KEYS}
            for name, source in manifest["sources"].items()
        },
        "split": split["strategy"],
        "splits": {
            name: {key: part[key] for key in _SPLIT_KEYS if key in part}
            for name, part in split["splits"].items()
        },
        "seed": facts.get("seed"),
        "params_sha256": dict(params_sha256),
        "fitted_sha256": fitted_sha256,
        "versions": facts.get("versions", {}),
    }


def fingerprints(sections: Mapping[str, Section]) -> dict[str, str]:
    """SHA-256 of each section's values, independent of order, comments and omitted defaults."""
    return {
        name: hashlib.sha256(
            json.dumps(section.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()
        for name, section in sections.items()
    }


def schema(program: Mapping[str, Any], rules: Mapping[str, SourceRules]) -> dict[str, Any]:
    """Schema of the sources that a feature program reads: validated types, times and rules.

    Parameters
    ----------
    program
        Contents of ``program.json``.
    rules
        ``validate.sources``; written without defaults, in the form that
        ``SourceRules.model_validate_json`` reads.
    """
    sources = {}
    for name, content in program["sources"].items():
        table = SourceSchema.from_json(content)
        sources[name] = {
            "columns": {
                column: type_name(dtype)
                for column, dtype in table.schema.items()
                if not column.startswith("_")
            },
            "time": table.time,
            "known_at": dict(table.known_at),
            "rules": rules[name].model_dump(mode="json", exclude_defaults=True)
            if name in rules
            else {},
        }
    return {"base": program["rules"]["base"], "sources": sources}
