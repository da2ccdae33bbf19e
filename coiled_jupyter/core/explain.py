"""Finds the rows of a diff that explain a failure: the text of a traceback, of a worker's log or of Dask's own warning.

Rules: text is hostile and long, so every pattern is a literal with bounded classes behind it, and only bounded pieces of
text are given back; lines of source code are no evidence; a row that is equal or rated harmless is never a cause; a
symptom, which has many possible reasons, counts only where the failure names no package itself, and Dask's warning,
which stands above nearly every failure in a mismatched notebook, only where there is no failure at all.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TypeAlias

from msgspec import Struct

from .names import normal
from .wire import Basis, Cause, Diff, Explanation, Row, Severity

_ORDER: tuple[Severity, ...] = ("breaks", "risky", "minor", "same")
_EVIDENCE = 200
_MATCHES = 50
_CAUSES = 20
_ANY = "*"
"""In a clue: every row that is bad enough."""
_Brought: TypeAlias = Mapping[str, Sequence[str]]
"""By module: the rows that were read to bring it."""


class Clue(Struct, frozen=True):
    """A piece of text that points at rows.

    Attributes
    ----------
    pattern
        A regular expression; a group ``module`` in it holds the name of the module that it points at.
    why
        A sentence on how such a difference brings about such a text.
    names
        The rows that it points at, where the text doesn't name a module.
    basis
        ``named`` if the text can have no other reason, ``fits`` if it can.
    least
        A row with a lower severity doesn't have this effect.

    """

    pattern: str
    why: str
    names: tuple[str, ...] = ()
    basis: Basis = "named"
    least: Severity = "minor"


_CODE = "Compiled functions of one Python don't load in another."
_GONE = "The failure names a part of it that only one of its versions has."
_DIED = "Functions compiled by another Python can crash the process that runs them."
_PICKLED = "Objects of one version can't be read by the other."
_PROTOCOL = "One side calls the other in a way that its release of Dask doesn't know."

CLUES: tuple[Clue, ...] = (
    # Python
    Clue(r"unknown opcode", _CODE, ("python",)),
    Clue(r"\bcode(?:\(\))? (?:takes|expected) (?:at most|exactly|at least) \d{1,3}", _CODE, ("python",)),
    Clue(r"\bcode(?:\(\))? argument \d{1,3} must be", _CODE, ("python",)),
    Clue(r"bad marshal data|bad magic number|marshal data too short", _CODE, ("python",)),
    Clue(r"unsupported pickle protocol", "One side writes pickles that the other is too old to read.", ("python",)),
    # Dask and what carries its messages
    Clue(r"\b(?:Scheduler|SchedulerState|Worker|Nanny|Server)\.\w{1,80}\(\) (?:got|takes|missing) ", _PROTOCOL, ("distributed",)),
    Clue(
        r"\b(?:add_(?:client|worker|keys)|register_(?:client|(?:worker|nanny|scheduler)_plugin)|heartbeat_worker|identity"
        r"|update_graph|compute_task|gather_dep|get_versions|handle_\w{1,60})\(\) (?:got|takes|missing) ",
        _PROTOCOL,
        ("distributed",),
    ),
    Clue(
        r"got an unexpected keyword argument '(?:versions|idempotent|worker_saturation|run_spec|span_metadata|stimulus_id"
        r"|serializers|deserializers|scheduler_info|who_has|contact_address|worker_class)'",
        _PROTOCOL,
        ("distributed",),
        "fits",
        "risky",
    ),
    Clue(r"KeyError: 'pickle-protocol'|\bNo handler \w{1,80} found in ", _PROTOCOL, ("distributed",)),
    Clue(
        r"\b_(?:make_(?:function|skel_func|skeleton_class|skeleton_enum|empty_cell|cell)|fill_function|function_setstate|class_setstate)\b",
        "Functions are rebuilt by helpers that only one of its versions has.",
        ("cloudpickle",),
    ),
    Clue(r"unpickle_exception_with_attrs|\btblib\.", "It is needed to send errors of workers.", ("tblib",)),
    # Packages whose objects are pickled
    Clue(r"\bnumpy\.(?:_core|core)\.|is not a known BitGenerator", _PICKLED, ("numpy",)),
    Clue(
        r"compiled using NumPy 1|\bnumpy\.\w{1,40} size changed|compiled against (?:API version|NumPy) \S|numpy\.core\.multiarray failed",
        "Compiled code was built for another version of it.",
        ("numpy",),
    ),
    Clue(r"\bStringDtype\.__init__\(\)|\b(?:_unpickle_block|new_block|_new_Index|BlockPlacement)\b", _PICKLED, ("pandas",)),
    # What names a module
    Clue(r"\bNo module named \\{0,4}['\"]?(?P<module>\w[\w.]{0,199})", "The failure is that this module isn't there."),
    Clue(r"Missing optional dependency '(?P<module>[\w.-]{1,200})'", "The failure is that this package isn't there."),
    Clue(r"No package metadata was found for (?P<module>\w[\w.-]{0,199})", "The failure is that this package isn't there."),
    Clue(r"requires version '[^'\n]{1,40}' or newer of '(?P<module>[\w.-]{1,200})'", "Its version is too old on one side."),
    Clue(r"cannot import name '[^'\n]{1,200}' from (?:partially initialized module )?'(?P<module>[\w.]{1,200})'", _GONE),
    Clue(r"\bmodule '(?P<module>[\w.]{1,200})' has no attribute ", _GONE),
    Clue(r"Can't get attribute '[^'\n]{1,200}' on <module '(?P<module>[\w.]{1,200})'", _GONE),
    Clue(r"'(?P<module>\w{1,80}\.[\w.]{1,150})' object has no attribute ", _GONE),
    Clue(
        r"ZoneInfoNotFoundError\b|No time zone found with key", "Without it, Python reads time zones from the system.", ("tzdata",)
    ),
    Clue(r"KeyError(?:: |\()\\{0,4}'(?P<module>lz4|snappy|zstd|blosc)\\{0,4}'", "One side compresses messages in a way that the other can't read."),
    # Symptoms
    Clue(r"\bKilledWorker\b|\bkilled by signal (?:4|6|11)\b|Segmentation fault|SIGSEGV", _DIED, ("python",), "fits", "breaks"),
    Clue(r"\bCommClosedError\b", _DIED, ("python",), "fits", "breaks"),
    Clue(r"TimeoutError: timed out after ", _DIED, ("python",), "fits", "breaks"),
    Clue(r"TimeoutError: timed out after ", "A task that meets it may never end.", (_ANY,), "fits", "breaks"),
    Clue(r"cancelled for reason: scheduler-connection-lost", _DIED, ("python",), "fits", "breaks"),
    Clue(
        r"(?<!Future)CancelledError: \S|cancelled for reason: unknown",
        "A scheduler cancels tasks of another release of Dask, which it can't read, and doesn't say why.",
        ("distributed", "dask"),
        "fits",
        "risky",
    ),
    Clue(r"during handshake with ", _PROTOCOL, ("distributed",), "fits", "breaks"),
    Clue(
        r"\bmsgpack\.exceptions\.\w|unpack\(b\) received extra data|strict_map_key|Unpack failed",
        "Messages of one side can't be read by the other.",
        ("msgpack", "distributed"),
        "fits",
        "risky",
    ),
    Clue(
        r"Error during deserialization of the task graph|(?:Failed|Could not|Unable) to deserialize|\bUnpicklingError\b",
        "One side couldn't read what the other pickled.",
        (_ANY,),
        "fits",
        "breaks",
    ),
    Clue(r"(?:Failed|Could not) to serialize|Could not serialize", "It pickles tasks.", ("cloudpickle",), "fits", "breaks"),
)  # fmt: skip
"""The clues, in their order; if two point at one row, the first gives the evidence."""


@cache
def _compiled() -> tuple[tuple[re.Pattern[str], Clue], ...]:
    # Compiling them takes longer than importing most modules, and few servers explain anything.
    return tuple((re.compile(clue.pattern), clue) for clue in CLUES)


DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "OpenSSL": ("pyopenssl",),
    "Bio": ("biopython",),
    "Crypto": ("pycryptodome",),
    "ESMF": ("esmpy",),
    "MySQLdb": ("mysqlclient",),
    "PIL": ("pillow",),
    "attr": ("attrs",),
    "blosc": ("blosc", "python-blosc"),
    "bs4": ("beautifulsoup4",),
    "dask.distributed": ("distributed",),
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "dateutil": ("python-dateutil",),
    "docx": ("python-docx",),
    "dotenv": ("python-dotenv",),
    "faiss": ("faiss-cpu", "faiss-gpu"),
    "fitz": ("pymupdf",),
    "git": ("gitpython",),
    "grpc": ("grpcio",),
    "igraph": ("igraph", "python-igraph"),
    "jose": ("python-jose",),
    "jwt": ("pyjwt",),
    "lightning": ("lightning", "pytorch-lightning"),
    "magic": ("python-magic",),
    "mpl_toolkits": ("matplotlib",),
    "osgeo": ("gdal",),
    "pkg_resources": ("setuptools",),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "pythoncom": ("pywin32",),
    "serial": ("pyserial",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "slugify": ("python-slugify",),
    "snappy": ("python-snappy", "cramjam"),
    "tables": ("tables", "pytables"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-gpu"),
    "umap": ("umap-learn",),
    "usb": ("pyusb",),
    "win32api": ("pywin32",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
    "zstd": ("zstandard",),
}
"""Modules whose distribution has another name."""

# The library of this very Python isn't that of the notebook's or the cluster's: what others have or had is added.
_LIBRARY = sys.stdlib_module_names | {
    "aifc", "annotationlib", "asynchat", "asyncore", "audioop", "binhex", "cgi", "cgitb", "chunk", "compression", "crypt",
    "distutils", "formatter", "graphlib", "imghdr", "imp", "mailcap", "msilib", "nis", "nntplib", "parser", "pipes", "smtpd",
    "sndhdr", "spwd", "sunau", "symbol", "telnetlib", "tomllib", "uu", "xdrlib", "zoneinfo",
}  # fmt: skip
_NO_LIBRARY = frozenset({"__main__", "__mp_main__", "builtins"})
"""What a user's own code lives in, and what every value of Python's own types names."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]{0,100}[ -/]{0,20}[@-~]|\][^\x07\x1b]{0,4000}(?:\x07|\x1b\\)|[@-Z\\-_])")
_BRANCH = re.compile(r" {1,40}[|+] ?")
_FRAME = re.compile(r"File |Cell In|Input In|<ipython-input|[~/]\S{1,400} in ")
_ARROW = re.compile(r"-{1,6}> ?\d")
_INSTALLED = re.compile(r"(?:site|dist)-packages[/\\](\w{1,80})")
_RAISED = re.compile(r"(?:builtins\.)?(?:AttributeError|TypeError|ImportError): ")
_NAME = re.compile(r"[A-Za-z][\w.-]{0,80}")
_DASK = frozenset({"cloudpickle", "dask", "distributed", "tblib", "tornado"})
"""Their frames only carry a failure from one side to the other."""


class _Hint(Struct, frozen=True):
    """What a piece of the text points at, before it is matched with the diff."""

    names: tuple[str, ...]
    evidence: str
    why: str
    basis: Basis
    least: Severity = "minor"
    wanted: str | None = None


def explain(text: str, diff: Diff) -> Explanation:
    """Return the rows of `diff` that explain `text`, the gravest first; none where nothing points at one."""
    lines = [line for line in _clean(text).split("\n") if line]
    rows = {row.name: row for row in diff.rows}
    brought = _brought(diff.rows)
    hints = [*_clues(lines, brought), *_frames(lines, brought)]
    for basis in ("named", "fits"):
        causes = _causes((hint for hint in hints if hint.basis == basis), rows)
        if causes:
            said = _explained(causes, basis)
            return _explanation(said, causes, basis, diff)
    warned = _warned(lines)
    if warned and not hints and not any("Traceback (most recent call last)" in line for line in lines):
        causes = _causes(warned, rows)
        return _explanation(_about_warning(warned, rows), causes, "warned" if causes else "none", diff)
    return _explanation(_unexplained(hints, diff, rows), [], "none", diff)


def proven(found: Explanation, text: str) -> dict[str, str]:
    """Return ``{row: evidence}`` of the causes that make tasks fail, as a failure shows that came from the cluster.

    A module that the notebook has and that is missing was missing there; for other failures, Dask's code lies on the way.
    """
    if found.basis != "named":
        return {}
    named = Counter(cause.evidence for cause in found.causes)
    through_dask = any(
        match and match[1] in _DASK
        for line in text.split("\n")
        if _is_frame(line)
        for match in [_INSTALLED.search(line[:2000])]
    )
    return {
        cause.row.name: cause.evidence
        for cause in found.causes
        # Of several that share a namespace, any may be the one that was missed.
        if (
            cause.row.status == "only_kernel"
            and "No module named" in cause.evidence
            and (named[cause.evidence] == 1 or cause.row.use == "imported")
        )
        or (through_dask and cause.row.status not in ("only_kernel", "only_cluster"))
    }


def _brought(rows: Iterable[Row]) -> _Brought:
    """Return the rows that bring each module, and below ``namespace.`` those without which there is no such namespace."""
    found: dict[str, list[str]] = {}
    for row in rows:
        lacking = row.kernel is None or any(group.version is None for group in row.groups)
        for module in row.modules:
            found.setdefault(module, []).append(row.name)
            for at in [at for at, letter in enumerate(module) if letter == "."] if lacking else ():
                found.setdefault(module[: at + 1], []).append(row.name)
    return found


def _explanation(said: list[str], causes: list[Cause], basis: Basis, diff: Diff) -> Explanation:
    text = " ".join([*said, *_unread(diff)])
    return Explanation(text=text, causes=tuple(causes), basis=basis, verdict=diff.verdict)


# ---- the text -----------------------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """Return the text without escapes of terminals and without characters that can't be shown."""
    text = _ESCAPE.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    return text.translate({ord(c): None for c in set(text) if c != "\n" and not c.isprintable()})


def _is_frame(line: str) -> bool:
    return _FRAME.match(line.lstrip(" |")) is not None


def _is_source(line: str) -> bool:
    return line[:1].isspace() or _is_frame(line) or _ARROW.match(line) is not None


def _clues(lines: Iterable[str], brought: _Brought) -> Iterator[_Hint]:
    # Exception groups are printed as trees.
    said = "\n".join(line for line in (_BRANCH.sub("", line, count=1) for line in lines) if not _is_source(line))
    for pattern, clue in _compiled():
        seen = set()
        for match in islice(pattern.finditer(said), _MATCHES):
            module = match["module"] if "module" in pattern.groupindex else None
            if module in seen:
                continue
            seen.add(module)
            names = _distributions(module, brought) if module else clue.names
            missing = module if module and clue.pattern.startswith(r"\bNo module") else None
            if names:
                yield _Hint(names, _around(said, match.start()), clue.why, clue.basis, clue.least, missing)


def _around(text: str, at: int) -> str:
    """Return the line at this place, cut around it."""
    begin = max(text.rfind("\n", 0, at) + 1, at - _EVIDENCE // 2)
    end = text.find("\n", at)
    return _short(text[begin : end if end >= 0 else None])


def _short(text: str) -> str:
    text = text[: 2 * _EVIDENCE].strip()
    return text if len(text) <= _EVIDENCE else text[: _EVIDENCE - 1] + "…"


def _distributions(module: str, brought: _Brought) -> tuple[str, ...]:
    """Return the names of rows that may hold a module: those that were read to bring it, else those known to.

    `brought` has modules whose distribution has another name, as read from the notebook's kernel and the cluster.
    """
    parts = [part for part in module.split(".") if part][:3]
    # The programs of Dask's nodes are a worker's `__main__`, in which a class of the notebook's isn't found.
    if not parts or parts[0] in _NO_LIBRARY or parts[:2] == ["distributed", "cli"]:
        return ()
    # Several distributions may share one top-level module, such as google.cloud.
    wholes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    read = [name for whole in (module + ".", *wholes) for name in brought.get(whole, ())]
    if not read and parts[0] in _LIBRARY:
        return ("python",)
    local = [name for whole in wholes for name in (whole.replace(".", "/") + ".py", whole.replace(".", "/") + "/")]
    known = [name for whole in wholes for name in DISTRIBUTIONS.get(whole, ())]
    return tuple(dict.fromkeys([*read, *known, *map(normal, wholes), *local]))


def _frames(lines: Iterable[str], brought: _Brought) -> list[_Hint]:
    """Return the packages in whose code a name or an argument was missing, for failures that came through Dask."""
    hints: dict[str, _Hint] = {}
    innermost: str | None = None
    through_dask = False
    for line in lines:
        if _is_frame(line):
            installed = _INSTALLED.search(line[:2000])
            innermost = installed[1] if installed else None
            through_dask = through_dask or innermost in _DASK
        elif innermost and _RAISED.match(line) and len(hints) < _MATCHES:
            if innermost not in _DASK:
                why = "The failure comes from its code, and names and arguments differ between its versions."
                hints.setdefault(innermost, _Hint(_distributions(innermost, brought), _short(line), why, "fits"))
            innermost = None
    return list(hints.values()) if through_dask else []


def _warned(lines: Iterable[str]) -> list[_Hint]:
    """Return the lines of the table that Dask prints with its warning."""
    hints: dict[str, _Hint] = {}
    inside = False
    title = ""
    for line in lines:
        cells = line[:2000].strip()
        if cells.startswith("|") and cells.endswith("|") and cells.count("|") >= 3:
            name = normal(cells[1:].split("|", 1)[0].strip())
            # Until 2020 each package had a table of its own, below its name, with a line for each node.
            name = title or name
            if name == "package":
                inside = True
            elif (inside or title) and len(hints) < _MATCHES:
                evidence = _short(f"{title} {' '.join(cells.split())}".strip())
                hints.setdefault(name, _Hint((name,), evidence, "Dask's warning names it.", "warned", "risky"))
        elif not cells.startswith("+"):
            inside, title = False, normal(cells) if _NAME.fullmatch(cells) else ""
    return list(hints.values())


# ---- the rows -----------------------------------------------------------------------------------------------------


def _differs(row: Row | None, least: Severity = "minor") -> bool:
    return row is not None and row.status != "same" and _ORDER.index(row.severity) <= _ORDER.index(least)


def _causes(hints: Iterable[_Hint], rows: Mapping[str, Row]) -> list[Cause]:
    found: dict[str, Cause] = {}
    for hint in hints:
        for name in rows if hint.names == (_ANY,) else hint.names:
            row = rows.get(name)
            if row is not None and name not in found and _differs(row, hint.least):
                found[name] = Cause(row=row, evidence=hint.evidence, why=f"{hint.why} {_fact(row)}")
    ordered = sorted(found.values(), key=lambda c: (_ORDER.index(c.row.severity), not c.row.in_use))
    return ordered[:_CAUSES]


def _fact(row: Row) -> str:
    """Return how the sides differ, as a sentence."""
    there = " or ".join(dict.fromkeys(group.version or "missing" for group in row.groups[:50]))
    what = f"The module {row.name}" if _is_module(row) else row.name
    if row.status == "only_kernel":
        return f"{what} is here{', in no package,' if _is_module(row) else ''} and not on the cluster."
    if row.status == "only_cluster":
        return f"{what} is on the cluster and not here."
    if row.status in ("differs", "split") and row.kernel is not None:
        return f"{what} is {row.kernel.version} here and {_cut(there)} on the cluster."
    return row.why


def _is_module(row: Row) -> bool:
    sources = [side.source for side in (row.kernel, *row.groups) if side is not None]
    return any(source is not None and source.kind == "module" for source in sources)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


# ---- sentences ----------------------------------------------------------------------------------------------------


def _list(names: Sequence[str], limit: int = 5) -> str:
    shown = list(names[:limit])
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _explained(causes: list[Cause], basis: Basis) -> list[str]:
    names = _list([cause.row.name for cause in causes])
    if basis == "named":
        lead = f"The failure points at {names}."
    else:
        lead = f"The failure fits the difference of {names}, though it can have other reasons too."
    return [lead, causes[0].why, causes[0].row.fix]


def _about_warning(warned: list[_Hint], rows: Mapping[str, Row]) -> list[str]:
    names = [hint.names[0] for hint in warned]
    grave = [name for name in names if _differs(rows.get(name), "risky")]
    equal = [name for name in names if name in rows and rows[name].status == "same"]
    slight = [name for name in names if name in rows and name not in grave and name not in equal]
    unseen = [name for name, row in rows.items() if name not in names and _differs(row, "risky")]
    said = [f"Of what Dask warns about, {f'{_list(grave)} can' if grave else 'nothing is known to'} make tasks fail."]
    if slight:
        said.append(f"Nothing is known to depend on the difference of {_list(slight)}.")
    if equal:
        said.append(f"{_list(equal)} {'is' if len(equal) == 1 else 'are'} equal now.")
    if unseen:
        said.append(f"Dask doesn't look at {_list(unseen)}, which can make tasks fail too.")
    return said


def _unexplained(hints: list[_Hint], diff: Diff, rows: Mapping[str, Row]) -> list[str]:
    said = []
    for hint in [hint for hint in hints if hint.basis == "named"][:3]:
        known = [rows[name] for name in hint.names if name in rows]
        if not known and hint.wanted:
            said.append(
                f"No package that was read here or on the cluster is known to bring the module {hint.wanted[:80]}."
            )
        for row in known[:1]:
            if row.status == "same":
                said.append(f"The failure points at {row.name}, but that is equal here and on the cluster.")
            else:
                # Rated harmless, since tasks rarely use it; this failure may be the rare one.
                said.append(f"The failure points at {row.name}, a difference that is rated harmless. {_fact(row)}")
    said = said or ["Nothing in this text points at a difference of packages."]
    grave = [row.name for row in diff.rows if _differs(row, "risky")]
    if grave:
        said.append(f"Differences that can make tasks fail: {_list(grave)}.")
    elif diff.verdict != "unknown":
        said.append("Nor is any difference known to make tasks fail.")
    return said


def _unread(diff: Diff) -> list[str]:
    if diff.unread:
        known = [f"{entry.node}: {entry.reason.rstrip('.')}" for entry in diff.unread]
        return [f"Not everything could be read ({'; '.join(known[:3])}), so there may be more."]
    if diff.level == "versions":
        return ["Only the few versions that Dask itself tells could be compared, so there may be more."]
    if diff.level == "none":
        return ["Nothing could be compared."]
    if not diff.checked.content:
        return ["Files are still being compared, so there may be more."]
    if diff.verdict == "unknown":
        return ["The comparison is out of date, so there may be more."]
    return []
