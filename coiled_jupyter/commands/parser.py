"""The one parser of `coiled-jupyter` and `%coiled`."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ..core import wire
from ..core.choice import nearest
from . import clusters, software, sync


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, with the nearest name and the usage, and ends the process."""

    def error(self, message: str) -> NoReturn:
        """End with 2, which is what wrong usage ends with."""
        self.exit(2, f"{self.prog}: {self.told(message)}\n")

    def told(self, message: str) -> str:
        """Return what is wrong, with the usage, in one line."""
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        stop = "" if message.endswith("?") else "."
        return f"{message[:1].upper()}{message[1:]}{stop} Usage: {usage}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse's own sentence names no nearest choice before Python 3.14.
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            told = nearest(str(value), choices) or f"; choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{told}")


def parser(kind: type[Parser] = Parser, *, notebook: bool = False) -> Parser:
    """Return the parser of all commands.

    Parameters
    ----------
    kind
        What tells of wrong usage: `Parser` ends the process, a notebook's doesn't.
    notebook
        Whether it is for a cell, where differences are no failure unless `--fail-on` says so.

    """
    name = "%coiled" if notebook else "coiled-jupyter"
    top = kind(
        prog=name,
        description="See how this Python's libraries and a Dask cluster's differ, and run clusters that match.",
        epilog=f"Example: {name} cluster create --requirement numpy==1.26.4, then {name} diff",
    )
    top.add_argument("--version", action="store_true", help="print the version and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _command(commands, "status", "clusters and core usage (the default)", "", wire.Usage)
    diff = _command(
        commands, "diff", "compare this interpreter with a cluster", "--cluster mine --fail-on block", wire.Diff
    )
    diff.add_argument("--cluster", metavar="X", help="name, id or address; the only one if left out")
    clusters.add_certificates(diff)
    diff.add_argument("--software", metavar="NAME", help="show what a software environment has beside it")
    diff.add_argument("--all", action="store_true", help="print equal packages too")
    diff.add_argument(
        "--fail-on",
        choices=("block", "warn", "note"),
        default=None if notebook else "warn",
        help="least severity that makes the cell fail" if notebook else "least severity that exits with 1",
    )
    explain = _command(
        commands,
        "explain",
        "name the differences behind a traceback or a warning of Dask's",
        "--cluster mine traceback.txt",
        wire.Explanation,
    )
    left_out = "this notebook's last error" if notebook else "standard input"
    explain.add_argument("file", nargs="?", metavar="FILE", help=f"a file with its text; {left_out} if left out")
    explain.add_argument("--cluster", metavar="X", help="name, id or address; the only one if left out")
    clusters.add_certificates(explain)
    if notebook:
        client = _command(commands, "connect", "return a Dask client of a cluster", "mine")
        client.add_argument("cluster", nargs="?", metavar="X", help="name, id or address; the only one if left out")
    report = _command(
        commands,
        "doctor",
        "write all that a report of a problem needs to one file, without secrets",
        "--output report.json",
        wire.Doctor,
    )
    report.add_argument(
        "--output", metavar="FILE", default="coiled-jupyter-report.json", help="where; nothing is there yet"
    )
    sync.add(_command, commands)
    software.add(_command, commands)
    cluster = commands.add_parser("cluster", help="create, list and stop clusters")
    cluster.epilog = f"Example: {cluster.prog} create mine --workers 4"
    verbs = cluster.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = _command(
        verbs, "create", "start a local cluster", "mine --workers 4 --requirement numpy==1.26.4", wire.Cluster
    )
    create.add_argument("name", nargs="?", help="a name of your own")
    create.add_argument("--workers", type=int, metavar="N", help="workers to begin with; 2 if left out")
    create.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each worker")
    create.add_argument("--memory", metavar="SIZE", help="memory of each worker, such as 4GiB")
    create.add_argument(
        "--requirement", action="append", metavar="REQ", help="a package of its environment, such as numpy==1.26.4"
    )
    create.add_argument("--python", metavar="X.Y", help="Python of that environment")
    create.add_argument("--software", metavar="NAME", help="a software environment instead")
    create.add_argument(
        "--adaptive", nargs=2, type=int, metavar=("MIN", "MAX"), help="let it grow and shrink with its work"
    )
    create.add_argument(
        "--env",
        action="append",
        metavar="NAME[=VALUE]",
        help="a variable for its workers; without a value this shell's",
    )
    create.add_argument("--no-wait", action="store_true", help="return before it runs")
    attach = _command(
        verbs, "attach", "follow a cluster that somebody else runs", "tcp://10.0.0.7:8786 --name theirs", wire.Cluster
    )
    attach.add_argument("address", metavar="ADDRESS", help="such as tcp://10.0.0.7:8786 or tls://host:8786")
    attach.add_argument("--name", metavar="NAME", help="a name of your own")
    clusters.add_certificates(attach)
    _command(verbs, "list", "list clusters", "--json", list[wire.Cluster])
    scale = _command(verbs, "scale", "give a cluster a fixed number of workers", "8 mine", wire.ChangedCluster)
    scale.add_argument("workers", type=int, metavar="N", help="workers; as many as the limit allows")
    scale.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    adapt = _command(
        verbs,
        "adapt",
        "let a cluster grow and shrink with its work",
        "mine --minimum 1 --maximum 8",
        wire.ChangedCluster,
    )
    adapt.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    adapt.add_argument("--minimum", type=int, default=0, metavar="N", help="workers that always stay")
    adapt.add_argument("--maximum", type=int, metavar="N", help="workers at most")
    adapt.add_argument("--off", action="store_true", help="keep the number of workers that it has now")
    restart = _command(
        verbs,
        "restart",
        "start the workers of a cluster anew, or all of it at the same address",
        "mine --what cluster",
        wire.Cluster,
    )
    restart.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    restart.add_argument("--what", choices=("workers", "cluster"), default="workers", help="default: workers")
    rename = _command(verbs, "rename", "give a cluster another name", "mine yours", wire.ChangedCluster)
    rename.add_argument("cluster", metavar="X", help="name or id")
    rename.add_argument("name", metavar="NAME", help="its new name")
    keep = _command(
        verbs, "keep", "choose how long a cluster lives on when nobody holds it", "3600 mine", wire.ChangedCluster
    )
    keep.add_argument("seconds", type=float, metavar="SECONDS", help="such as 3600")
    keep.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    logs = _command(
        verbs, "logs", "print what the processes of a cluster have printed", "mine --node scheduler --follow", wire.Logs
    )
    logs.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    logs.add_argument("--node", metavar="NAME", help="scheduler, or the name of a worker; all if left out")
    logs.add_argument("--follow", action="store_true", help="go on until interrupted")
    stop = _command(
        verbs,
        "stop",
        "stop a cluster, take an ended one off the list, or let go of an attached one",
        "mine",
        wire.Cluster,
    )
    stop.add_argument("cluster", nargs="?", metavar="X", help="name or id; the only one if left out")
    return top


def _command(commands: Any, name: str, text: str, example: str, *answers: Any) -> argparse.ArgumentParser:
    """Add a command; `answers` are the types of what it can print as JSON, none where that is nothing."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.epilog = f"Example: {made.prog} {example}".rstrip()
    if answers:
        made.add_argument("--json", action="store_true", help="print exactly the JSON of the REST API")
    made.set_defaults(answers=answers)
    return made
