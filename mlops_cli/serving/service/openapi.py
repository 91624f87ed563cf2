"""The OpenAPI document of a service, generated from its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli import __version__
from mlops_cli.data.column_types import type_name
from mlops_cli.serving.service.request_bodies import CONTENT_TYPES

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.serve import Serve
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["document"]

_TYPES: dict[str, dict[str, Any]] = {
    "integer": {"type": ["integer", "number", "string", "null"]},
    "number": {"type": ["number", "string", "null"]},
    "string": {"type": ["string", "number", "boolean", "null"]},
    "boolean": {"type": ["boolean", "number", "string", "null"]},
    "date": {"type": ["string", "null"]},
    "datetime": {"type": ["string", "null"]},
}
"""JSON types accepted for each column type: as in ingest, a text may hold a number."""
_TYPE_TEXT = {
    "integer": "A whole number.",
    "number": "A number.",
    "string": "A text.",
    "boolean": "True or false.",
    "date": "A date as ISO 8601, such as 2013-10-01.",
    "datetime": "A moment as ISO 8601, UTC where it has no zone, such as 2013-10-01T06:00:00Z.",
}


def document(served: LoadedModel, serve: Serve, *, key_required: bool) -> dict[str, Any]:
    """OpenAPI 3.1, with the bundle's synthetic row (if any) as the example of /predict."""
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": served.model.name,
            "version": served.model.number,
            "description": f"Predictions of {served.model.label} (mlops-cli {__version__}).",
        },
        # Relative to the document: a proxy may serve the service under a prefix.
        "servers": [{"url": "."}],
        "paths": {
            "/predict": {"post": _predict(served, serve)},
            "/feedback": {"post": _feedback()},
            "/model": {"get": _get("The model: card, signature, lineage and metrics.")},
            "/livez": {"get": _get("Whether the process is alive.")},
            "/readyz": {"get": _get("Whether it can answer predictions.", 503)},
            "/healthz": {"get": _get("The state of its parts.", 503)},
            "/metrics": {"get": _get("Counters for Prometheus.", kind="text/plain")},
            "/docs.json": {"get": _get("This document.")},
            "/": {"get": _get("A page to try it out.", kind="text/html")},
        },
        "components": {
            "schemas": {
                "Row": _row(served),
                "Problem": _PROBLEM,
                "Prediction": _prediction(served),
                "Predictions": _PREDICTIONS,
                "Label": _LABEL,
            },
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    if key_required:
        content["security"] = [{"key": []}, {"bearer": []}]
        for path in ("/livez", "/readyz", "/healthz", "/"):
            content["paths"][path]["get"]["security"] = []
    return content


def _row(served: LoadedModel) -> dict[str, Any]:
    inputs = served.scorer.inputs
    names = (*inputs.required, *inputs.optional)
    row: dict[str, Any] = {
        "type": "object",
        "properties": {c: _column(inputs.columns[c]) for c in names},
        "required": list(inputs.required),
        "additionalProperties": True,
    }
    if served.example is not None:
        row["example"] = served.example
    return row


def _column(dtype: pl.DataType) -> dict[str, Any]:
    name = type_name(dtype)
    return {**_TYPES.get(name, {}), "description": _TYPE_TEXT.get(name, f"A value of type {name}.")}


def _predict(served: LoadedModel, serve: Serve) -> dict[str, Any]:
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1,
            "maxItems": serve.limits.rows}  # fmt: skip
    body: dict[str, Any] = {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"type": "object", "required": ["rows"], "properties": {"rows": rows}},
                    {"type": "object", "required": ["columns"],
                     "properties": {"columns": {"type": "object",
                                                "additionalProperties": {"type": "array"}}}},
                    rows,
                    {"$ref": "#/components/schemas/Row"},
                ]
            }
        }
    }  # fmt: skip
    if served.example is not None:
        body["application/json"]["example"] = {"rows": [served.example]}
    for kind, (form, _) in CONTENT_TYPES.items():
        if kind not in body and form in serve.formats:
            body[kind] = {"schema": {"type": "string", "format": "binary"}}
    explain = {
        "name": "explain",
        "in": "query",
        "schema": {"type": "string", "enum": ["true", "false"]},
        "description": "With each row's features that count most.",
    }
    return {
        "operationId": "predict",
        "summary": "Predict rows of the calling system's own columns.",
        "parameters": [explain],
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": _json("The predictions, in the order of the rows.", "Predictions"),
            **_problems(400, 401, 405, 413, 415, 422, 503, 504),
        },
    }


def _feedback() -> dict[str, Any]:
    label = {"$ref": "#/components/schemas/Label"}
    schema = {
        "type": "object",
        "required": ["labels"],
        "properties": {"labels": {"type": "array", "items": label, "minItems": 1}},
    }
    result = {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": {"enum": _RESULTS}}},
    }
    return {
        "operationId": "feedback",
        "summary": "Tell what really happened; the same label again changes nothing.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "What became of each label.",
                    "content": {"application/json": {"schema": result}}},
            **_problems(400, 401, 404, 405, 413, 415, 422, 503, 504),
        },
    }  # fmt: skip


def _get(text: str, *codes: int, kind: str = "application/json") -> dict[str, Any]:
    answer = {"description": text, "content": {kind: {}}}
    more = {str(code): {"description": "Not now.", "content": {kind: {}}} for code in codes}
    return {"summary": text, "responses": {"200": answer, **more, **_problems(401, 405)}}


def _json(text: str, schema: str) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": text, "content": {"application/json": content}}


def _problems(*codes: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(code): {"description": _STATUS_TEXT[code], "content": content} for code in codes}


def _prediction(served: LoadedModel) -> dict[str, Any]:
    labels = served.scorer.bundle.labels
    properties: dict[str, Any] = {"id": {"type": "string"}}
    if not labels.classes:
        properties["prediction"] = {"type": ["number", "null"]}
    else:
        properties["prediction"] = {"enum": list(labels.classes)}
        properties["probabilities"] = {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
        }
        if served.scorer.bundle.threshold is not None:
            properties["decision"] = {
                "enum": list(labels.classes),
                "description": "The class by the threshold that the costs ask for.",
            }
    required = list(properties)
    properties["version"] = {
        "type": "string",
        "description": "The version that answers this row, where a canary is at work.",
    }
    properties["threshold"] = {"type": "number", "description": "With it, that version's."}
    properties["warnings"] = {"type": "array", "items": _WARNING}
    properties["more_warnings"] = {
        "type": "integer",
        "description": "How many more there are: a row and a request list only so many.",
    }
    properties["explanation"] = {"type": "array", "items": {"type": "object"}}
    return {"type": "object", "required": required, "properties": properties}


_STATUS_TEXT = {
    400: "The body is not what its content type says.",
    401: "The API key or token is missing or not valid.",
    404: "There is no event log.",
    405: "The path has another method; the header Allow names it.",
    413: "The body is too large, or has too many rows.",
    415: "The content type is not known.",
    422: "A row can't be scored; `errors` names row, column and value.",
    503: "Too much waits, or the event log can't take it; Retry-After says when to try again.",
    504: "It took too long.",
}
_WARNING = {
    "type": "object",
    "description": "A value that is missing or outside of the training data, and its policy.",
    "required": ["column", "value", "message", "kind", "policy"],
    "properties": {
        "column": {"type": "string"},
        "value": {"type": ["string", "null"]},
        "message": {"type": "string"},
        "kind": {"enum": ["missing", "range", "unseen"]},
        "policy": {"enum": ["flag", "impute"]},
    },
}
_RESULTS = ["new", "same", "changed", "unknown"]
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
_PREDICTIONS = {
    "type": "object",
    "required": ["model", "version", "predictions"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "threshold": {"type": "number"},
        "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
    },
}
_LABEL = {
    "type": "object",
    "required": ["label"],
    "properties": {
        "id": {"type": "string", "description": "Of the prediction."},
        "entity": {"type": "object", "description": "Instead of the id: the entity's columns."},
        "time": {"type": "string", "description": "With the entity: when it happens."},
        "label": {"type": ["string", "number", "boolean"]},
    },
    "anyOf": [{"required": ["id"]}, {"required": ["entity", "time"]}],
}
