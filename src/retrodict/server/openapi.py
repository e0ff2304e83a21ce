"""The description of the endpoints that the server publishes: OpenAPI 3.1, at `GET /openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import retrodict
from retrodict.server.tensors import DATATYPES

_PARAMETERS: Final = {"type": "object", "description": "What the protocol leaves open."}
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "shape": {"type": "array", "minItems": 1, "maxItems": 16, "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": list(DATATYPES)},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "description": "Row-major, flat or nested; left out where the tensor is binary."},
    },
}
_SCHEMAS: Final[Mapping[str, Any]] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Tensor": _TENSOR,
    "InferenceRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                },
            },
        },
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "parameters", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {
                "type": "object",
                "required": ["prediction", "prediction_id", "leaf_hash", "trace"],
                "properties": {
                    "prediction": {"type": "string", "description": "What every command takes."},
                    "prediction_id": {"type": "string"},
                    "leaf_hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                    "trace": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
                    "rows": {"type": "integer"},
                },
            },
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
    },
    "Model": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/TensorDescription"}},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/TensorDescription"}},
        },
    },
    "TensorDescription": {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer"}},
        },
    },
    "Declared": {
        "type": "object",
        "required": ["system", "model", "inputs"],
        "properties": {
            "system": {"type": "string", "minLength": 1},
            "model": {"type": "string", "minLength": 1},
            "model_version": {"type": ["string", "null"]},
            "inputs": {"description": "One row or many."},
            "outputs": {"description": "As many rows as inputs."},
            "caller": {"type": ["string", "null"]},
            "at": {"type": ["string", "null"], "description": "RFC 3339."},
        },
    },
    "Recorded": {
        "type": "object",
        "required": ["prediction", "prediction_id", "leaf_hash", "trace"],
        "properties": {name: {"type": "string"} for name in ("prediction", "prediction_id", "leaf_hash", "trace")},
    },
}


def description(models: Sequence[str], *, with_token: bool) -> dict[str, object]:
    """Return the OpenAPI document of a server of these models."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"enum": list(models)}}
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    }
    paths: dict[str, object] = {
        "/v2": {"get": _get("The server.", {"type": "object", "required": ["name", "version", "extensions"]})},
        "/v2/health/live": {"get": _get("Whether it runs.", _flag("live"))},
        "/v2/health/ready": {"get": _get("Whether it answers.", _flag("ready"))},
        "/v2/models": {"get": _get("The models.", {"type": "object", "required": ["models"]})},
        "/metrics": {
            "get": {
                "summary": "Prometheus.",
                "responses": {"200": {"description": "Counts.", "content": {"text/plain": {}}}},
            }
        },
        "/openapi.json": {"get": _get("This.", {"type": "object"})},
        "/v1/predictions": {
            "post": {
                "summary": "Put an answer on record that was given elsewhere.",
                "requestBody": _content("Declared"),
                "responses": {"201": _answer(_ref("Recorded")), **_ERRORS},
            }
        },
        "/v1/predictions/{reference}": {
            "parameters": [
                {
                    "name": "reference",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9:.-]{1,80}$"},
                }
            ],
            "get": _get("One prediction on record.", {"type": "object", "required": ["rows"]}),
        },
    }
    for root, parameters in (
        ("/v2/models/{name}", [name]),
        ("/v2/models/{name}/versions/{version}", [name, version]),
    ):
        paths[root] = {"parameters": parameters, "get": _get("A model.", _ref("Model"))}
        paths[f"{root}/ready"] = {"parameters": parameters, "get": _get("Whether it is loaded.", _flag("ready"))}
        paths[f"{root}/infer"] = {
            "parameters": parameters,
            "post": {
                "summary": "Ask. The answer is on record before it is sent.",
                "requestBody": _content("InferenceRequest"),
                "responses": {"200": _answer(_ref("InferenceResponse")), **_ERRORS},
            },
        }
    document: dict[str, object] = {
        "openapi": "3.1.0",
        "info": {"title": "retrodict", "version": retrodict.__version__},
        "paths": paths,
        "components": {"schemas": dict(_SCHEMAS)},
    }
    if with_token:
        document["security"] = [{"token": []}]
        document["components"] = {
            "schemas": dict(_SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        }
    return document


def _ref(name: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(schema: Mapping[str, object], says: str = "Done.") -> dict[str, object]:
    return {"description": says, "content": {"application/json": {"schema": dict(schema)}}}


def _content(name: str) -> dict[str, object]:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


def _flag(name: str) -> dict[str, object]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


_ERRORS: Final = {"4XX": _answer(_ref("Error"), "Refused."), "5XX": _answer(_ref("Error"), "Could not be answered.")}


def _get(summary: str, schema: Mapping[str, object]) -> dict[str, object]:
    return {"summary": summary, "responses": {"200": _answer(schema), **_ERRORS}}
