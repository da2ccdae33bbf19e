"""The generated documents are those of the wire types."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from openapi_spec_validator import validate

from coiled_jupyter.server.openapi import document

ROOT = Path(__file__).resolve().parents[1]


def test_openapi_is_current_and_valid():
    made = json.loads(json.dumps(document()))
    assert json.loads((ROOT / "docs/openapi.json").read_text()) == made
    validate(made)


def test_typescript_types_are_current(tmp_path):
    path = ROOT / "labextension/src/api/wire.ts"
    before = path.read_text()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    try:
        subprocess.run(
            [str(Path(sys.executable).parent / "jlpm"), "types"], cwd=ROOT, env=env, check=True, capture_output=True
        )
        assert path.read_text() == before
    finally:
        path.write_text(before)
