"""The commands `software …`: named sets of packages: lock, keep, install as a Jupyter kernel, export."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..core import wire
from ..core.errors import Invalid
from ..core.wire import Software, SoftwareCreate
from ..service.facade import Service
from .base import Output, body, counted, given

FILE_LIMIT: Final = 1_000_000


def add(command: Callable[..., argparse.ArgumentParser], commands: Any) -> None:
    """Add the commands to a parser."""
    software = commands.add_parser("software", help="keep, install and export named sets of packages")
    software.epilog = f"Example: {software.prog} create analysis --file environment.yml"
    verbs = software.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = command(
        verbs,
        "create",
        "lock packages and keep them under a name; nothing is installed",
        "analysis --file environment.yml",
        wire.Software,
    )
    create.add_argument("name", metavar="NAME", help="letters, digits, dots, dashes and underscores")
    create.add_argument(
        "requirements", nargs="*", metavar="REQ", help="such as numpy==1.26.4 (default: this Python's packages)"
    )
    create.add_argument(
        "--file",
        metavar="FILE",
        help="read them from requirements.txt, pyproject.toml, pylock.toml, uv.lock or environment.yml",
    )
    create.add_argument("--python", metavar="X.Y", help="the Python to choose packages for")
    create.add_argument("--replace", action="store_true", help="replace an environment of this name")
    command(verbs, "list", "list software environments", "--json", list[wire.Software])
    show = command(verbs, "show", "print one with its packages", "analysis", wire.Software)
    install = command(
        verbs, "install", "build one here, with a Jupyter kernel of it", "analysis", wire.SoftwareInstalled
    )
    export = command(
        verbs, "export", "print one as a file for other tools", "analysis --output pylock.toml", wire.SoftwareExport
    )
    export.add_argument(
        "--format",
        choices=("pylock", "requirements", "environment"),
        default="pylock",
        help="pylock.toml (PEP 751, the default), requirements.txt with hashes, or conda's environment.yml",
    )
    export.add_argument("--output", metavar="FILE", help="write to this file, which must not exist yet")
    delete = command(verbs, "delete", "delete one; its build stays until `clean`", "analysis")
    for one in (show, install, export, delete):
        one.add_argument("name", metavar="NAME")
    command(verbs, "clean", "remove builds that nothing uses any more", "", wire.SoftwareFreed)


async def run(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Run one of the commands; 0 where it is done."""
    return await _VERBS[arguments.verb](service, arguments, out)


async def _create(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    file = arguments.file and {"name": Path(arguments.file).name, "text": _text(arguments.file)}
    raw = given(
        name=arguments.name,
        python=arguments.python,
        replace=arguments.replace,
        requirements=arguments.requirements or None,
        file=file,
    )
    made = await service.software.create(body(raw, SoftwareCreate))
    out.value(made)
    out.line(f"{made.name}: {counted(made.count, 'package')} for Python {made.python} on {made.platform}")
    for left in made.left_out:
        out.line(f"! {left.name} is left out. {left.why}")
    return 0


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(4 * FILE_LIMIT + 4)
        # PowerShell's > writes UTF-16; a mark tells.
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        # One character more than is allowed, so that a longer text is refused and not cut.
        return data.decode("utf-16" if utf16 else "utf-8-sig")[: FILE_LIMIT + 1]
    except (OSError, ValueError):
        raise Invalid("file", f"{path} can't be read", "Name a file of requirements") from None


async def _list(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    found = await service.software.all()
    out.value(found)
    if not found:
        out.line("No software environments. Create one with `coiled-jupyter software create NAME`")
    for one in found:
        _tell(one, out)
    return 0


async def _show(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    found = await service.software.get(arguments.name)
    out.value(found)
    _tell(found, out)
    for package in found.packages:
        out.line(f"  {package.name}  {package.version}")
    for left in found.left_out:
        out.line(f"! {left.name} is left out. {left.why}")
    return 0


def _tell(one: Software, out: Output) -> None:
    built = f"built, {(one.size or 0) / 1e6:.0f} MB" if one.built else "not built"
    used = f"  used by {', '.join(one.used_by)}" if one.used_by else ""
    out.line(f"{one.name}  {counted(one.count, 'package')}  Python {one.python}  from {one.source}  {built}{used}")


async def _install(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    out.note(f"Building {arguments.name}")
    made = await service.software.install(arguments.name)
    out.value(made)
    out.line(f"The Jupyter kernel {made.kernel} runs in {made.prefix}")
    out.line(f"Remove it with: jupyter kernelspec remove {made.kernel}")
    return 0


async def _export(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    made = service.software.export(arguments.name, arguments.format)
    if arguments.output is not None:
        _write(Path(arguments.output), made.text)
        return 0
    out.value(made)
    out.line(made.text.removesuffix("\n"))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise Invalid("output", f"{path} can't be written: {error.strerror}") from None


async def _delete(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    await service.software.delete(arguments.name)
    out.line(f"Deleted {arguments.name}")
    return 0


async def _clean(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    freed = await service.software.clean()
    out.value(freed)
    out.line(f"Removed {counted(freed.builds, 'built environment')}, {freed.size / 1e6:.0f} MB")
    return 0


_VERBS: Mapping[str, Callable[[Service, argparse.Namespace, Output], Awaitable[int]]] = {
    "create": _create,
    "list": _list,
    "show": _show,
    "install": _install,
    "export": _export,
    "delete": _delete,
    "clean": _clean,
}
