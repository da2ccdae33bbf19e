"""Writes the reference pages of the site from what the program itself says: parser, schema, traits, OpenAPI document."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from coiled_jupyter.commands.parser import parser
from coiled_jupyter.ipython.magics import cell_parser
from coiled_jupyter.server.app import CoiledJupyter
from coiled_jupyter.server.openapi import document

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "labextension" / "schema" / "plugin.json"
_COMMANDS = (
    "The same in a shell (`coiled-jupyter`) and in a notebook (`%coiled`, after `%load_ext coiled_jupyter`). "
    "Exit codes: 0 done, 1 differences at or above `--fail-on` or a failure, 2 wrong usage, 3 could not read; "
    "in a notebook all but 0 fail the cell."
)
_REST = (
    "Below `/coiled-jupyter/api` of the Jupyter server, with its authentication. An answer that is no success is an "
    "[ErrorBody](#errorbody). Times are RFC 3339 in UTC, ids are opaque. The document itself is `docs/openapi.json` "
    "of the source."
)
_FILE = re.compile(r"^\{\{ (examples/[a-z/.-]+) \}\}$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put in the files that a page shows."""
    return _FILE.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8").rstrip(), markdown)


def pages() -> dict[str, str]:
    """Return ``{name: Markdown}``."""
    return {"commands": _commands(), "settings": _settings(), "configuration": _configuration(), "rest": _rest()}


def _commands() -> str:
    top = parser()
    parts = [
        "# Commands",
        _COMMANDS,
    ]
    for command in _below(top):
        name = command.prog.partition(" ")[2]
        parts += [f"## {name}", "```text\n" + command.format_help().strip() + "\n```"]
        answers = " or ".join(f"`{_named(answer)}`" for answer in command.get_default("answers") or ())
        if answers:
            parts.append(f"`--json` prints {answers} of the [REST API](rest.md).")
    notebook = parser(notebook=True)
    connect = next(command for command in _below(notebook) if command.prog == "%coiled connect")
    parts += ["## In a notebook only"]
    parts += ["```text\n" + one.format_help().strip() + "\n```" for one in (connect, cell_parser())]
    return "\n\n".join(parts) + "\n"


def _below(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                inner = list(_below(command))
                yield from inner or [command]


def _named(answer: Any) -> str:
    return (
        answer.__name__
        if isinstance(answer, type) and not hasattr(answer, "__args__")
        else f"list of {answer.__args__[0].__name__}"
    )


def _settings() -> str:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | {one['type']} | `{json.dumps(one['default'])}` | {one['description']} |"
        for name, one in schema["properties"].items()
    ]
    head = (
        "In JupyterLab: Settings, Settings Editor, "
        + schema["title"]
        + ".\n\n| Name | Type | Default | What |\n|---|---|---|---|\n"
    )
    return f"# Settings\n\n{schema['description']}\n\n{head}" + "\n".join(rows) + "\n"


def _configuration() -> str:
    rows = []
    for name, trait in sorted(CoiledJupyter.class_own_traits(config=True).items()):
        kind = type(trait).__name__
        rows.append(f"| `{name}` | {kind} | `{trait.default()!r}` | {' '.join(trait.help.split())} |")
    text = (
        "For administrators, in Jupyter's configuration files or on its command line, never from the browser:\n\n"
        "```python\nc.CoiledJupyter.core_limit = 8\n```\n\n```text\njupyter lab --CoiledJupyter.core_limit=8\n```\n\n"
        "Shells and notebooks read the same files. What each is for: [For administrators](../admins.md).\n\n"
    )
    return (
        "# Configuration\n\n" + text + "| Name | Type | Default | What |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _rest() -> str:
    made = document()
    parts = [
        "# REST API",
        _REST,
        "## Routes",
        "| Route | What | Parameters | Body | Answer |\n|---|---|---|---|---|\n"
        + "\n".join(
            _route(path, method, operation)
            for path, methods in made["paths"].items()
            for method, operation in methods.items()
        ),
    ]
    for name, schema in sorted(made["components"]["schemas"].items()):
        parts += [f"## {name}", *_schema(schema)]
    return "\n\n".join(parts) + "\n"


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = ", ".join(f"`{p['name']}`" for p in operation["parameters"] if p["in"] == "query")
    body = operation.get("requestBody")
    asked = _type(body["content"]["application/json"]["schema"]) if body else ""
    (status, success), *_ = operation["responses"].items()
    answer = _type(success["content"]["application/json"]["schema"]) if "content" in success else ""
    return f"| `{method.upper()} {path}` | {operation['summary']} | {parameters} | {asked} | {status} {answer} |"


def _schema(schema: dict[str, Any]) -> list[str]:
    # A docstring of this package: a paragraph, then a section of attributes.
    text, _, attributes = schema.get("description", "").partition("\n\n    Attributes\n")
    told = ["```text\n" + "\n".join(line[4:] for line in attributes.split("\n")[1:]) + "\n```"] if attributes else []
    rows = [f"| `{name}` | {_type(one)} |" for name, one in schema.get("properties", {}).items()]
    return [" ".join(text.split()), *told, "| Key | Type |\n|---|---|\n" + "\n".join(rows)]


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) else "object"
    return str(schema.get("type", "any"))
