"""The generated documents are those of the wire types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import validate

from coiled_jupyter.server.handlers import routes
from coiled_jupyter.server.openapi import document

ROOT = Path(__file__).resolve().parents[1]


def test_openapi_is_current_and_valid():
    made = json.loads(json.dumps(document()))
    assert json.loads((ROOT / "docs/openapi.json").read_text()) == made
    validate(made)


def test_every_live_route_and_method_is_documented_and_the_other_way_round():
    live = {
        (
            re.sub(r"\(.*\)", "{name}" if "/software/" in path else "{id}", path).removeprefix("/coiled-jupyter/api"),
            method,
        )
        for path, handler in routes()
        for method in ("get", "head", "post", "put", "patch", "delete", "options")
        if method in vars(handler)
    }
    documented = {(path, method) for path, methods in document()["paths"].items() for method in methods}
    assert {(path, method) for path, method in live if path != "/.*"} == documented


def test_typescript_types_are_current(tmp_path):
    path = ROOT / "labextension/src/wire.ts"
    before = path.read_text()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(
            [str(Path(sys.executable).parent / "jlpm"), "types"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        assert path.read_text() == before
    finally:
        path.write_text(before)
