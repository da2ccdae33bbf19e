"""Kernels of other Pythons, and notebooks that run in them, as files of a Jupyter server."""

from __future__ import annotations

import json
from pathlib import Path


def kernel_spec(
    data: Path, name: str, python: Path | str, start: tuple[str, ...] = ("-m", "ipykernel_launcher")
) -> None:
    """Register a kernel below a folder of Jupyter's data; `start` are the arguments of its Python."""
    folder = data / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    argv = [str(python), *start, "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "python"}))


def empty_notebook(path: Path, kernel: str) -> None:
    """Write a notebook without cells that runs in the kernel of this name."""
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook = {"cells": [], "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook))
