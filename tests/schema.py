"""Holds the answers of live routes against the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from coiled_jupyter.server.openapi import components, document

SEEN: set[tuple[str, str]] = set()
"""The (method, path of the document) that have answered with success in this process."""


def _remembering() -> type:
    """Return a class of validators that hold each part of an answer, such as a row, once for each value that it has.

    A test asks for the same hundreds of rows until something has happened. All documents of one class say the same.
    """
    held: set[tuple[str, str]] = set()

    def of_reference(validator: Any, reference: str, instance: object, schema: dict) -> Iterator[ValidationError]:
        key = reference, json.dumps(instance)
        if key not in held:
            faults = list(Draft202012Validator.VALIDATORS["$ref"](validator, reference, instance, schema))
            if not faults:
                held.add(key)
            yield from faults

    return extend(Draft202012Validator, {"$ref": of_reference})


_OfDocument = _remembering()


@cache
def _validator(reference: str) -> Any:
    """Return the validator of one schema of the document, in which no answer has a key that isn't declared."""
    made = document()
    for schema in made["components"]["schemas"].values():
        if schema.get("type") == "object" and "properties" in schema:
            schema["additionalProperties"] = False
    return _OfDocument({"$ref": reference, **made})


@cache
def _paths() -> dict:
    return document()["paths"]


def template(path: str) -> str:
    """Return the path of the document that a path below our prefix is of."""
    pieces = path.split("?")[0].split("/")
    if pieces[0] in ("clusters", "kernels", "plans", "syncs", "layers") and len(pieces) > 1:
        pieces[1] = "{id}"
    if pieces[0] in ("factories", "software") and len(pieces) > 1:
        pieces[1] = "{name}"
    return "/" + "/".join(pieces)


def check(method: str, path: str, status: int, answer: object) -> None:
    """Raise AssertionError where an answer isn't what the document promises."""
    operation = _paths().get(template(path), {}).get(method.lower())
    if status >= 400 or operation is None:
        assert status >= 400, f"{method} {path} answered {status} and isn't documented"
        _hold(answer, {"$ref": "#/components/schemas/ErrorBody"}, f"{method} {path} {status}")
        return
    promised = operation["responses"].get(str(status))
    assert promised is not None, f"{method} {path} answered {status}, the document has {sorted(operation['responses'])}"
    SEEN.add((method, template(path)))
    if "content" not in promised:
        assert answer is None
        return
    _hold(answer, promised["content"]["application/json"]["schema"], f"{method} {path}")


def _hold(answer: object, schema: dict, where: str) -> None:
    many = schema.get("type") == "array"
    reference = (schema["items"] if many else schema)["$ref"]
    for item in answer if many else [answer]:
        errors = [
            f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in _validator(reference).iter_errors(item)
        ]
        assert not errors, f"{where}: {errors[:3]}"


@cache
def _of_type(kind: Any) -> Any:
    (schema,), named = components([kind], "#/$defs/{name}")
    for one in named.values():
        if one.get("type") == "object" and "properties" in one:
            one["additionalProperties"] = False
    return _remembering()({**schema, "$defs": named})


def check_types(answer: object, kinds: tuple[Any, ...], where: str) -> None:
    """Raise AssertionError where an answer is of none of these types of `core.wire`, by the schema that the document has."""
    faults = [
        [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in _of_type(k).iter_errors(answer)] for k in kinds
    ]
    assert not all(faults), f"{where}: {[fault[:3] for fault in faults]}"
    assert kinds, f"{where} prints nothing"
