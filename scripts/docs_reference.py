"""Generates the reference pages of the site from the parser, the settings schema, the traits and the OpenAPI document."""

from __future__ import annotations

import argparse
import ast
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
    "The commands are the same in a shell (`coiled-jupyter`) and in a notebook (`%coiled`, after `%load_ext coiled_jupyter`). "
    "Exit codes: 0 done, 1 differences at or above `--fail-on` or a failure, 2 wrong usage, 3 something could not be read; "
    "in a notebook every code but 0 fails the cell."
)
_REST = (
    "All routes are below `/coiled-jupyter/api` of the Jupyter server and use its authentication. Every answer that is not a success is an "
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
    """Insert the files that a page shows."""
    return _FILE.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8").rstrip(), markdown)


def pages() -> dict[str, str]:
    """Return ``{name: Markdown}``."""
    return {
        "commands": _commands(),
        "settings": _settings(),
        "configuration": _configuration(),
        "rest": _rest(),
        "modules": _modules(),
    }


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
        for name, one in _flat(schema["properties"])
    ]
    head = (
        "In JupyterLab: Settings, Settings Editor, "
        + schema["title"]
        + ".\n\n| Name | Type | Default | Description |\n|---|---|---|---|\n"
    )
    return f"# Settings\n\n{schema['description']}\n\n{head}" + "\n".join(rows) + "\n"


def _flat(properties: dict[str, Any], above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each setting, and below an object its keys as ``object.key``."""
    for name, one in properties.items():
        yield f"{above}{name}", one
        yield from _flat(one.get("properties", {}), f"{above}{name}.")


def _configuration() -> str:
    rows = []
    for name, trait in sorted(CoiledJupyter.class_own_traits(config=True).items()):
        kind = type(trait).__name__
        rows.append(f"| `{name}` | {kind} | `{trait.default()!r}` | {' '.join(trait.help.split())} |")
    text = (
        "For administrators, in Jupyter's configuration files or on its command line, never from the browser:\n\n"
        "```python\nc.CoiledJupyter.core_limit = 8\n```\n\n```text\njupyter lab --CoiledJupyter.core_limit=8\n```\n\n"
        "Shells and notebooks read the same files. How they are used: [for administrators](../admins.md).\n\n"
    )
    return (
        "# Configuration\n\n"
        + text
        + "| Name | Type | Default | Description |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _rest() -> str:
    made = document()
    parts = [
        "# REST API",
        _REST,
        "## Routes",
        "| Route | Description | Parameters | Body | Answer |\n|---|---|---|---|---|\n"
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
    described = (
        ["```text\n" + "\n".join(line[4:] for line in attributes.split("\n")[1:]) + "\n```"] if attributes else []
    )
    rows = [f"| `{name}` | {_type(one)} |" for name, one in schema.get("properties", {}).items()]
    return [" ".join(text.split()), *described, "| Key | Type |\n|---|---|\n" + "\n".join(rows)]


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


def _modules() -> str:
    parts = [
        "# Modules",
        "The first sentence of each, by room. [How the rooms depend on each other](../architecture.md#rooms).",
    ]
    for suffix, top in (("py", ROOT / "coiled_jupyter"), ("ts*", ROOT / "labextension" / "src")):
        rooms: dict[str, list[str]] = {}
        for path in sorted(top.rglob(f"*.{suffix}")):
            name = path.relative_to(top)
            if name.parts[0] not in ("labextension", "__tests__"):
                text = " ".join(_said(path).replace("|", "\\|").split())
                rooms.setdefault(str(name.parent), []).append(f"| `{name.name}` | {text} |")
        for room, lines in sorted(rooms.items()):
            parts += [
                f"## {top.relative_to(ROOT) / room}",
                "| Module | What it answers for |\n|---|---|\n" + "\n".join(lines),
            ]
    return "\n\n".join(parts) + "\n"


def _said(path: Path) -> str:
    """Return the first paragraph of a module's docstring, or of the comment that a file of TypeScript begins with."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    comment = re.match(r"/\*\*(.*?)\*/", text, re.DOTALL)
    return re.sub(r"^\s*\*", "", comment[1], flags=re.MULTILINE) if comment else ""
