"""The command `doctor`: one file with all that a report of a problem needs."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..core.errors import Invalid
from ..service.doctor import doctor as gathered
from ..service.facade import Service
from .base import DONE, Output


async def doctor(service: Service, arguments: argparse.Namespace, out: Output) -> int:
    """Write the report to a new file, and print what is in it."""
    made = await gathered(service, plan=True)
    out.value(made)
    if not getattr(arguments, "json", False):
        _write(Path(arguments.output), msgspec.json.format(msgspec.json.encode(made), indent=1))
        out.line(f"Written to {arguments.output}. In it:")
    for line in made.contents:
        out.line(f"- {line}")
    for line in made.failed:
        out.line(f"! {line}")
    return DONE


def _write(path: Path, text: bytes) -> None:
    try:
        with path.open("xb") as stream:
            stream.write(text)
    except OSError as error:
        raise Invalid(
            "output", f"{path} can't be written: {error.strerror}", "Name another file with --output"
        ) from None
