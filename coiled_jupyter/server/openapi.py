"""The OpenAPI document of the REST API, generated from the table of routes and the wire types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ..core import wire
from .routes import ROUTES


def components(types: Iterable[Any], template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of types and of all types that they refer to by `template`; each key of an answer is required."""
    schemas, found = msgspec.json.schema_components(types, ref_template=template)
    for name, schema in found.items():
        # Answers have every key (omit_defaults is off), so one with a default isn't optional for a client.
        if schema.get("type") == "object" and issubclass(getattr(wire, name), wire.Wire):
            schema["required"] = list(schema["properties"])
    return list(schemas), found


def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1); every unsuccessful response is an ErrorBody."""
    types = [kind for route in ROUTES for kind in (*route.body, route.answer) if kind is not None]
    schemas, named = components([*types, wire.ErrorBody, wire.Change], "#/components/schemas/{name}")
    of = iter(schemas)
    paths: dict[str, Any] = {}
    for route in ROUTES:
        parameters = [_parameter(name, "path", required=True) for name in re.findall(r"\{(\w+)\}", route.path)]
        parameters += [_parameter(name, "query", required=required) for name, required in route.query.items()]
        operation: dict[str, Any] = {"summary": route.summary, "parameters": parameters}
        if route.body:
            choices = [next(of) for _ in route.body]
            schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        success: dict[str, Any] = {"description": "Success"}
        if route.answer is not None:
            success["content"] = {"application/json": {"schema": next(of)}}
        problem = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        operation["responses"] = {
            str(route.status): success,
            "4XX": {"description": "A request that can't be met, and why", "content": problem},
            "5XX": {"description": "Something doesn't answer", "content": problem},
        }
        paths.setdefault(f"/{route.path}", {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coiled Jupyter", "version": str(wire.SCHEMA), "license": {"name": "BSD-3-Clause"}},
        "servers": [{"url": "/coiled-jupyter/api"}],
        "paths": paths,
        "components": {"schemas": named},
    }


def _parameter(name: str, place: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string"}}
