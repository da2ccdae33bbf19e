"""Completes commands, options and the names of clusters, software environments and packages, in shells and in IPython."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from argcomplete.finders import CompletionFinder

from .. import configuration
from ..configuration import Configuration
from ..core.errors import CoiledError
from ..factories.table import Table
from ..ledger import Ledger
from ..links import this_process as here
from ..software.named.store import NamedEnvironments

_SHOWN = ("show", "install", "export", "delete")


def complete(top: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Attach completers to the arguments of all commands; return the parser."""
    for parser in _parsers(top):
        for action in parser._actions:
            found = _completer(parser, action)
            if found is not None:
                action.completer = found  # type: ignore[attr-defined]  # argcomplete's attribute
    return top


def candidates(top: argparse.ArgumentParser, line: str) -> list[str]:
    """Return the completions of the last word of a line that begins with the program's name."""
    before, _, prefix = line.rpartition(" ")
    try:
        words = shlex.split(before)
    except ValueError:
        return []
    found = CompletionFinder(complete(top), always_complete_options="long")
    return list(dict.fromkeys(word.strip() for word in found._get_completions(words, prefix, "", None)))


def _parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _parsers(command)


def _completer(parser: argparse.ArgumentParser, action: argparse.Action) -> Any:
    if action.dest == "cluster":
        return _clusters
    if action.dest == "software" or (action.dest == "name" and parser.prog.split()[-2:-1] == ["software"]):
        return _software if parser.prog.split()[-1] in _SHOWN or action.dest == "software" else None
    if action.dest == "factory":
        return _factories
    if action.dest == "packages":
        return _packages
    return None


def _clusters(**_: object) -> Iterable[str]:
    try:
        return [row.name for row in Ledger().list() if not row.ended]
    except CoiledError:
        return []


def _factories(**_: object) -> Iterable[str]:
    try:
        return [factory.name for factory in Table(configuration.read().factories).describe()]
    except CoiledError:
        return []


def _software(**_: object) -> Iterable[str]:
    try:
        return NamedEnvironments(Configuration()).names()
    except CoiledError:
        return []


def _packages(**_: object) -> Iterable[str]:
    return here.installed()
