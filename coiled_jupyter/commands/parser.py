"""The one parser of `coiled-jupyter` and `%coiled`."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ..core import wire
from ..core.choice import nearest
from . import clusters, software, sync


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line, with the nearest name and the usage, and exits."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2, the code of wrong usage."""
        self.exit(2, f"{self.prog}: {self.told(message)}\n")

    def told(self, message: str) -> str:
        """Return the error and the usage in one line."""
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        stop = "" if message.endswith("?") else "."
        return f"{message[:1].upper()}{message[1:]}{stop} Usage: {usage}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # Before Python 3.14 argparse suggests no nearest choice.
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            told = nearest(str(value), choices) or f"; choose from {', '.join(choices)}"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{told}")


def parser(kind: type[Parser] = Parser, *, notebook: bool = False) -> Parser:
    """Return the parser of all commands.

    Parameters
    ----------
    kind
        The class that reports usage errors: `Parser` ends the process, a notebook's doesn't.
    notebook
        Whether it is for a cell, where differences are a failure only with `--fail-on`.

    """
    name = "%coiled" if notebook else "coiled-jupyter"
    top = kind(
        prog=name,
        description="See how the packages of this Python and of a Dask cluster differ, and run clusters that match.",
        epilog=f"Example: {name} cluster create --requirement numpy==1.26.4, then {name} diff",
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    _command(commands, "status", "clusters and core usage (the default)", "", wire.Usage)
    diff = _command(
        commands,
        "diff",
        "compare this Python's packages with a cluster's",
        "--cluster mine --fail-on breaks",
        wire.Diff,
    )
    diff.add_argument("--cluster", metavar="X", help="name, id or address (default: the only cluster)")
    clusters.add_certificates(diff)
    diff.add_argument("--software", metavar="NAME", help="also show the versions of a software environment")
    diff.add_argument("--all", action="store_true", help="also print packages that are equal")
    diff.add_argument(
        "--fail-on",
        choices=("breaks", "risky", "minor"),
        default=None if notebook else "risky",
        help="lowest severity that makes the cell fail" if notebook else "lowest severity that exits with 1",
    )
    explain = _command(
        commands,
        "explain",
        "find the differences behind a traceback or Dask's mismatch warning",
        "--cluster mine traceback.txt",
        wire.Explanation,
    )
    left_out = "this notebook's last error" if notebook else "standard input"
    explain.add_argument("file", nargs="?", metavar="FILE", help=f"a file with the text (default: {left_out})")
    explain.add_argument("--cluster", metavar="X", help="name, id or address (default: the only cluster)")
    clusters.add_certificates(explain)
    if notebook:
        client = _command(commands, "connect", "return a Dask client of a cluster", "mine")
        client.add_argument("cluster", nargs="?", metavar="X", help="name, id or address (default: the only cluster)")
    report = _command(
        commands,
        "doctor",
        "write a report of a problem to one file, with secrets taken out",
        "--output report.json",
        wire.Doctor,
    )
    report.add_argument(
        "--output", metavar="FILE", default="coiled-jupyter-report.json", help="a file that does not exist yet"
    )
    sync.add(_command, commands)
    software.add(_command, commands)
    cluster = commands.add_parser("cluster", help="create, attach, scale, restart and stop clusters")
    cluster.epilog = f"Example: {cluster.prog} create mine --workers 4"
    verbs = cluster.add_subparsers(dest="verb", metavar="VERB", required=True)
    create = _command(verbs, "create", "start a cluster", "mine --workers 4 --requirement numpy==1.26.4", wire.Cluster)
    create.add_argument("name", nargs="?", help="a name for it")
    create.add_argument("--workers", type=int, metavar="N", help="number of workers (default: 2)")
    create.add_argument("--factory", metavar="NAME", help="where it runs, such as ssh or slurm (default: local)")
    create.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the factory, such as queue=long; repeat for more",
    )
    create.add_argument("--threads", type=int, metavar="N", help="threads of each worker (default: 1)")
    create.add_argument("--memory", metavar="SIZE", help="memory of each worker, such as 4GiB")
    create.add_argument(
        "--requirement", action="append", metavar="REQ", help="a package to install, such as numpy==1.26.4"
    )
    create.add_argument("--python", metavar="X.Y", help="Python version of that environment")
    create.add_argument("--software", metavar="NAME", help="run it in a software environment")
    create.add_argument(
        "--adaptive",
        nargs=2,
        type=int,
        metavar=("MIN", "MAX"),
        help="scale with the work, between these numbers of workers",
    )
    create.add_argument(
        "--env",
        action="append",
        metavar="NAME[=VALUE]",
        help="an environment variable for its workers; without a value, this shell's",
    )
    create.add_argument("--no-wait", action="store_true", help="return before it is running")
    offers = _command(
        verbs,
        "offers",
        "print which options a platform declares, and which clusters of yours run there",
        "gateway",
        wire.Offers,
    )
    offers.add_argument("factory", metavar="FACTORY", help="such as gateway")
    attach = _command(
        verbs, "attach", "follow a cluster that somebody else runs", "tcp://10.0.0.7:8786 --name theirs", wire.Cluster
    )
    attach.add_argument("address", metavar="ADDRESS", help="such as tcp://10.0.0.7:8786 or tls://host:8786")
    attach.add_argument("--name", metavar="NAME", help="a name for it")
    clusters.add_certificates(attach)
    _command(verbs, "list", "list clusters", "--json", list[wire.Cluster])
    scale = _command(verbs, "scale", "give a cluster a fixed number of workers", "8 mine", wire.ChangedCluster)
    scale.add_argument(
        "workers", type=int, metavar="N", help="number of workers; fewer if the core limit allows no more"
    )
    scale.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    adapt = _command(
        verbs,
        "adapt",
        "scale a cluster with its work",
        "mine --minimum 1 --maximum 8",
        wire.ChangedCluster,
    )
    adapt.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    adapt.add_argument("--minimum", type=int, default=0, metavar="N", help="lowest number of workers")
    adapt.add_argument("--maximum", type=int, metavar="N", help="highest number of workers")
    adapt.add_argument("--off", action="store_true", help="end adaptive scaling and keep the present number of workers")
    restart = _command(
        verbs,
        "restart",
        "restart the workers of a cluster, or all of it at the same address",
        "mine --what cluster",
        wire.Cluster,
    )
    restart.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    restart.add_argument("--what", choices=("workers", "cluster"), default="workers", help="default: workers")
    rename = _command(verbs, "rename", "give a cluster another name", "mine yours", wire.ChangedCluster)
    rename.add_argument("cluster", metavar="X", help="name or id")
    rename.add_argument("name", metavar="NAME", help="its new name")
    keep = _command(
        verbs, "keep", "set how long a cluster lives on when nothing uses it", "3600 mine", wire.ChangedCluster
    )
    keep.add_argument("seconds", type=float, metavar="SECONDS", help="such as 3600")
    keep.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    logs = _command(
        verbs, "logs", "print the logs of a cluster's processes", "mine --node scheduler --follow", wire.Logs
    )
    logs.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    logs.add_argument("--node", metavar="NAME", help="scheduler, or the name of a worker (default: all)")
    logs.add_argument("--follow", action="store_true", help="continue until interrupted")
    stop = _command(
        verbs,
        "stop",
        "stop a cluster, detach an attached one, or remove one that has ended from the list",
        "mine",
        wire.Cluster,
    )
    stop.add_argument("cluster", nargs="?", metavar="X", help="name or id (default: the only cluster)")
    return top


def _command(commands: Any, name: str, text: str, example: str, *answers: Any) -> argparse.ArgumentParser:
    """Add a command; `answers` are the types that it can print as JSON; none if it prints no JSON."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.epilog = f"Example: {made.prog} {example}".rstrip()
    if answers:
        made.add_argument("--json", action="store_true", help="print exactly the JSON of the REST API")
    made.set_defaults(answers=answers)
    return made
