#!/usr/bin/env python3
"""The checks of the source, by name: `scripts/checks.py mypy ruff` runs these, without names all but the tests among them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import bootstrap
from bootstrap import ROOT, VENV

_BIN = VENV / "bin"
_PAGE = [_BIN / "jlpm", "run"]
_WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_CORE = ["--data-file", "artifacts/coverage", "--source", "coiled_jupyter.core"]
CHECKS: dict[str, list[list[object]]] = {
    "ruff": [[_BIN / "ruff", "check", "."]],
    "format": [[_BIN / "ruff", "format", "--check", "."]],
    "imports": [[_BIN / "lint-imports"]],
    "mypy": [[_BIN / "mypy"]],
    "workflows": [
        [_BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *_WORKFLOWS],
        [_BIN / "zizmor", "--offline", "--no-progress", *_WORKFLOWS],
    ],
    "prettier": [[*_PAGE, "lint:format"]],
    "stylelint": [[*_PAGE, "lint:style"]],
    "tsc": [[*_PAGE, "lint:types"]],
    "eslint": [[*_PAGE, "lint"]],
}
TESTS: dict[str, list[list[object]]] = {
    "jest": [[*_PAGE, "test"]],
    # What has neither input nor output is covered by its own tests, without processes that no tracer follows.
    "coverage of the pure core by its own tests": [
        [_BIN / "coverage", "run", *_CORE, "-m", "pytest", "tests/core", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        [_BIN / "coverage", "report", "--data-file", "artifacts/coverage", "--fail-under", "90"],
    ],
}  # fmt: skip
"""These run beside the other tests; their last lines are shown also where they pass."""


def run(name: str) -> tuple[bool, str]:
    """Run a check; return whether it passed and what is to be shown of it."""
    begun = time.monotonic()
    said = b""
    (ROOT / "artifacts").mkdir(exist_ok=True)
    for command in {**CHECKS, **TESTS}[name]:
        done = subprocess.run(
            list(map(str, command)),
            cwd=ROOT,
            env={**os.environ, **bootstrap.environ()},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said += done.stdout
        if done.returncode:
            break
    text = said.decode(errors="replace")
    shown = text[-20_000:] if done.returncode else "\n".join(text.splitlines()[-8:]) if name in TESTS else ""
    how = "failed" if done.returncode else "passed"
    return not done.returncode, f"{name} {how} in {time.monotonic() - begun:.0f} s\n{shown}".strip()


if __name__ == "__main__":
    found = [run(name) for name in sys.argv[1:] or CHECKS]
    print("\n".join(report for _, report in found))
    raise SystemExit(not all(passed for passed, _ in found))
