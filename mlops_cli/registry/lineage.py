"""What a bundle says of where it comes from, and of the tables that it may be asked about."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mlops_cli.data.column_types import type_name
from mlops_cli.data.source_schema import SourceSchema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_cli.params.base import Section
    from mlops_cli.params.data import SourceRules

__all__ = ["fingerprints", "lineage", "schema"]

_OF_SOURCE = ("uri", "sha256", "rows", "time_column", "time_min", "time_max")
_OF_SPLIT = ("rows", "time", "target", "target_mean")


def lineage(
    facts: Mapping[str, Any],
    manifest: Mapping[str, Any],
    split: Mapping[str, Any],
    settings: Mapping[str, str],
    fitted: str,
) -> dict[str, Any]:
    """From the sources through the settings to the fitted model, as hashes and counts.

    Parameters
    ----------
    facts
        Of the bundle: project, seed, versions of the libraries.
    manifest
        What ingest took in, by source, and the data clock.
    split
        The report of split: rows, time range and target of each.
    settings
        Section of the parameters -> its fingerprint.
    fitted
        ``bundle_sha256`` of what train wrote.
    """
    return {
        "project": facts.get("project"),
        "clock": manifest["until"],
        "sources": {
            name: {key: source[key] for key in _OF_SOURCE}
            for name, source in manifest["sources"].items()
        },
        "split": split["strategy"],
        "splits": {
            name: {key: part[key] for key in _OF_SPLIT if key in part}
            for name, part in split["splits"].items()
        },
        "seed": facts.get("seed"),
        "params_sha256": dict(settings),
        "fitted_sha256": fitted,
        "versions": facts.get("versions", {}),
    }


def fingerprints(sections: Mapping[str, Section]) -> dict[str, str]:
    """SHA-256 of each section's values; order, comments and defaults left out don't count."""
    return {
        name: hashlib.sha256(
            json.dumps(section.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()
        for name, section in sections.items()
    }


def schema(program: Mapping[str, Any], rules: Mapping[str, SourceRules]) -> dict[str, Any]:
    """The sources that a feature program reads: types after validation, times, and rules.

    Parameters
    ----------
    program
        As ``program.json`` has it.
    rules
        ``validate.sources``; they are given as they differ from the defaults, and
        ``SourceRules.model_validate_json`` reads them again.
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
