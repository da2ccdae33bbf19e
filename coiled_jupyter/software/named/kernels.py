"""Jupyter kernels that run in software environments: installs them, and says which there are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from .. import build
from .locking import allowed
from .store import NamedEnvironments, Stored


class Kernel(msgspec.Struct, frozen=True):
    """A Jupyter kernel of this user that runs in an environment of ours; `software` is the name that it was made from, if known."""

    name: str
    prefix: str
    software: str


def kernels() -> list[Kernel]:
    """Return the Jupyter kernels of this user that run in environments of ours."""
    from jupyter_core.paths import jupyter_data_dir

    home, found = f"{build.home()}{os.sep}", []
    for path in Path(jupyter_data_dir(), "kernels").glob("*/kernel.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            content = json.loads(path.read_text(encoding="utf-8"))
            executable = str(content["argv"][0])
            if executable.startswith(home):
                prefix = home + Path(executable[len(home) :]).parts[0]
                software = content.get("metadata", {}).get("coiled_jupyter", {}).get("software", "")
                found.append(Kernel(path.parent.name, prefix, str(software)))
    return found


async def install(
    environments: NamedEnvironments, stored: Stored, check: Callable[[Path], Awaitable[None]] | None = None
) -> tuple[str, Path]:
    """Build one with ipykernel and register it with Jupyter; return the kernel's name and the environment's folder.

    `check` gets the folder with the kernel's specification before that is registered, and raises if the kernel is unusable.
    """
    spec = msgspec.structs.replace(
        environments.build_spec(stored),
        requirements=(*stored.pins, *(() if "ipykernel" in stored.versions else ("ipykernel",))),
        lock="",
    )
    own = {wheel.name: frozenset({f"sha256:{wheel.sha256}"}) for wheel in stored.wheels}
    built = await build.build(spec, allowed(await build.lock(spec), own))
    name = f"coiled-{stored.name.lower()}"
    with tempfile.TemporaryDirectory(prefix="coiled-jupyter-") as top:
        folder = Path(top, name)
        folder.mkdir()
        argv = [built.interpreter, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        content = {
            "argv": argv,
            "display_name": f"{stored.name} (Coiled)",
            "language": "python",
            "metadata": {"debugger": True, "coiled_jupyter": {"software": stored.name}},
        }
        (folder / "kernel.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if check is not None:
            await check(folder)
        await asyncio.to_thread(_register, str(folder), name)
    return name, Path(built.prefix)


def _register(folder: str, name: str) -> None:
    from jupyter_client.kernelspec import KernelSpecManager

    KernelSpecManager().install_kernel_spec(folder, name, user=True)
