"""One parser for the shell and the notebook: an example of every command, and what it says of wrong usage."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest

from coiled_jupyter.commands.base import counted
from coiled_jupyter.commands.parser import Parser, parser
from coiled_jupyter.ipython import magics


def commands(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def examples(top: argparse.ArgumentParser) -> list[tuple[argparse.ArgumentParser, argparse.ArgumentParser]]:
    return [(top, command) for command in commands(top)]


@pytest.mark.parametrize(
    ("top", "command"),
    [pytest.param(*pair, id=pair[1].prog) for top in (parser(), magics.make_parser()) for pair in examples(top)],
)
def test_the_help_of_each_command_has_an_example_that_can_be_run(top, command):
    text = command.format_help()
    assert command.epilog is not None
    assert command.epilog in " ".join(text.split())
    line = command.epilog.removeprefix("Example: ").removeprefix(top.prog)
    arguments = top.parse_args(shlex.split(line))
    assert command.prog.startswith(f"{top.prog} {arguments.command}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["staus"], "did you mean status?"),
        (["cluster", "creat"], "did you mean create?"),
        (["software", "export", "x", "--format", "pylok"], "did you mean pylock?"),
        (["diff", "--fail-on", "x"], "choose from breaks, risky, minor"),
        (["cluster", "scale", "many"], "invalid int value: 'many'"),
        (["cluster"], "VERB"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_usage_and_the_nearest_choice(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1
    assert told in said
    assert ". Usage: coiled-jupyter" in said or "? Usage: coiled-jupyter" in said
    with pytest.raises(magics.UsageError, match="Usage: %coiled"):
        magics.make_parser().parse_args(words)


def test_both_front_doors_have_the_same_commands():
    shell = {command.prog.partition(" ")[2] for command in commands(parser())}
    cells = {command.prog.partition(" ")[2] for command in commands(magics.make_parser())}
    # A client is an object of Python's, which a shell has no use for.
    assert cells - shell == {"connect"}
    assert shell <= cells


def test_every_command_is_of_the_kind_that_tells_in_one_line():
    assert all(isinstance(command, Parser) for command in commands(parser()))


@pytest.mark.parametrize(
    ("words", "text"),
    [((1, "worker"), "1 worker"), ((0, "worker"), "0 workers"), ((1, "worker", "0 of "), "0 of 1 worker")],
)
def test_numbers_agree_with_their_nouns(words, text):
    assert counted(*words) == text
