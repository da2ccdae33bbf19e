"""The OpenAPI document of the REST API, generated from the wire types and one table of routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..core import wire

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}

_NAME = {**_ID, "name": "name"}


def _query(name: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": {"type": "string"}}


# (path, method, summary, parameters, body, status of success, answer)
_ROUTES: tuple[tuple[str, str, str, list[dict[str, Any]], Any, int, Any], ...] = (
    ("/about", "get", "Versions, limits, factories", [], None, 200, wire.About),
    ("/clusters", "get", "All clusters", [], None, 200, list[wire.Cluster]),
    (
        *("/clusters", "post", "Create a cluster, or attach one by its address", []),
        (wire.ClusterCreate, wire.ClusterAttach),
        *(202, wire.Cluster),
    ),
    ("/clusters/{id}", "get", "One cluster", [_ID], None, 200, wire.Cluster),
    ("/clusters/{id}", "delete", "Stop a cluster, or take an ended one off the list", [_ID], None, 204, None),
    (
        *("/clusters/{id}", "patch", "Change its size, name or lease", [_ID]),
        *(wire.ClusterChange, 200, wire.ChangedCluster),
    ),
    (
        *("/clusters/{id}/restart", "post", "Start its workers, or all of it, anew", [_ID]),
        *(wire.ClusterRestart, 202, wire.Cluster),
    ),
    (
        *("/clusters/{id}/logs", "get", "What its nodes printed", [_ID, _query("node"), _query("after")]),
        *(None, 200, wire.Logs),
    ),
    (
        "/environments",
        "get",
        "The environment of a kernel, or one per group of a cluster",
        [_query("kernel"), _query("cluster")],
        None,
        200,
        list[wire.Environment],
    ),
    (
        "/diff",
        "get",
        "A kernel compared with a cluster",
        [_query("kernel", required=True), _query("cluster", required=True), _query("software")],
        None,
        200,
        wire.Diff,
    ),
    ("/rules", "get", "What this user ignores or rates otherwise, and every rule", [], None, 200, wire.Rules),
    (
        "/rules",
        "patch",
        "Change what this user ignores or rates otherwise",
        [],
        wire.RulesChange,
        200,
        wire.Rules,
    ),
    ("/explain", "post", "The rows of a diff that explain a failure", [], wire.ExplainRequest, 200, wire.Explanation),
    ("/usage", "get", "Core usage of this user on this host", [], None, 200, wire.Usage),
    ("/plans", "post", "What a sync would do, before anything is touched", [], wire.PlanCreate, 201, wire.Plan),
    ("/plans/{id}", "get", "A plan that this server still holds", [_ID], None, 200, wire.Plan),
    ("/syncs", "get", "Syncs of this user's clusters, newest first", [], None, 200, list[wire.Sync]),
    ("/syncs", "post", "Carry out a plan", [], wire.SyncCreate, 201, wire.Sync),
    (
        "/syncs/{id}",
        "get",
        "One sync, with the lines of its log after `after`",
        [_ID, _query("after")],
        None,
        200,
        wire.Sync,
    ),
    ("/syncs/{id}", "delete", "Cancel a sync; the old state comes back", [_ID], None, 200, wire.Sync),
    ("/syncs/{id}/undo", "post", "Go back to the state before a sync", [_ID], None, 201, wire.Sync),
    ("/layers", "get", "States that clusters had, with the room that they take", [], None, 200, list[wire.Layer]),
    ("/layers/{id}", "delete", "Remove a layer that no cluster runs in", [_ID], None, 204, None),
    (
        *("/software", "get", "Software environments of this user, without their packages", [], None, 200),
        list[wire.Software],
    ),
    (
        *("/software", "post", "Lock packages and keep them under a name", [], wire.SoftwareCreate, 201),
        wire.Software,
    ),
    ("/doctor", "get", "What a report of a problem needs, without secrets", [_query("kernel")], None, 200, wire.Doctor),
    ("/software/{name}", "get", "One software environment", [_NAME], None, 200, wire.Software),
    ("/software/{name}", "delete", "Forget a software environment that no cluster runs", [_NAME], None, 204, None),
    (
        *("/software/{name}/export", "get", "A software environment as a file", [_NAME, _query("format")], None, 200),
        wire.SoftwareExport,
    ),
)


def _bodies(body: Any) -> tuple[Any, ...]:
    return body if isinstance(body, tuple) else (body,) if body is not None else ()


def components(types: Iterable[Any], template: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of types, and of all that they refer to by `template`, in which each key of an answer is required."""
    schemas, found = msgspec.json.schema_components(types, ref_template=template)
    for name, schema in found.items():
        # Answers carry every key (omit_defaults is off), so one with a default isn't optional for a reader.
        if schema.get("type") == "object" and issubclass(getattr(wire, name), wire.Wire):
            schema["required"] = list(schema["properties"])
    return list(schemas), found


def document() -> dict[str, Any]:
    """Return the document, OpenAPI 3.1; every answer that is no success is an ErrorBody."""
    types = [t for route in _ROUTES for t in (*_bodies(route[4]), route[6]) if t is not None]
    types += [wire.ErrorBody, wire.Change]
    schemas, named = components(types, "#/components/schemas/{name}")
    of = iter(schemas)
    paths: dict[str, Any] = {}
    for path, method, summary, parameters, body, status, answer in _ROUTES:
        operation: dict[str, Any] = {"summary": summary, "parameters": parameters}
        if body is not None:
            choices = [next(of) for _ in _bodies(body)]
            schema = choices[0] if len(choices) == 1 else {"anyOf": choices}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        success: dict[str, Any] = {"description": "Success"}
        if answer is not None:
            success["content"] = {"application/json": {"schema": next(of)}}
        problem = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
        operation["responses"] = {
            str(status): success,
            "4XX": {"description": "A request that can't be met, and why", "content": problem},
            "5XX": {"description": "Something doesn't answer", "content": problem},
        }
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coiled Jupyter", "version": str(wire.SCHEMA), "license": {"name": "BSD-3-Clause"}},
        "servers": [{"url": "/coiled-jupyter/api"}],
        "paths": paths,
        "components": {"schemas": named},
    }
