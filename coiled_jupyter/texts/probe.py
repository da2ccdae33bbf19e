"""Reads the environment of the process that it is evaluated in: every distribution, what is loaded, what is wrong.

Evaluated with ``exec(text, namespace)`` in a kernel, scheduler or worker; then ``namespace["probe"]()`` and
``namespace["fingerprint"]()`` each return one JSON text.

Rules: Python 3.8, standard library only, never raises, no network, no subprocess, nothing written; modules of the user
are looked at through ``vars`` only, since a module's ``__getattr__`` may run code or warn.
"""

import json
import os
import re
import sys

LIMIT = 20000
TEXT_LIMIT = 500
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_SEPARATORS = re.compile(r"[-_.]+")
_SUFFIX = re.compile(r"^(.*?)\.(dist-info|egg-info|egg-link)$")
# What each distribution's record says of its top-level modules, by (path, mtime): read once in a process.
_TOPS = {}
# {name: version} of the distributions that the process had imported when it was first read.
_BASELINE = {}
# Distributions that the program itself (such as the kernel) had imported before any code of the user ran.
_OWN = set()
# The user's namespaces, where the program has any: a module named there is the user's choice, whoever imported it.
_NAMESPACES = []


def _clip(value):
    return value[:TEXT_LIMIT] if isinstance(value, str) else ""


def _normal(name):
    return _SEPARATORS.sub("-", name).lower()


def _read(path, size=65536):
    # Some hundred small files are read: the text layer of open() would be most of the time.
    descriptor = os.open(path, _FLAGS)
    try:
        pieces, left = [], size
        while left > 0:
            piece = os.read(descriptor, left)
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode("utf-8", "replace")


def _headers(path):
    name = version = ""
    for line in _read(path).splitlines():
        if not line.strip():
            break
        if line.startswith("Name:") and not name:
            name = line[5:].strip()
        elif line.startswith("Version:") and not version:
            version = line[8:].strip()
    return name, version


def _identify(folder, entry, stem, kind):
    """Return (name, version) of one metadata entry; its own text is read where the name leaves a doubt."""
    if kind == "egg-info":
        stem = re.sub(r"-py\d+(\.\d+)?(-.*)?$", "", stem)
    name, _, version = stem.partition("-")
    # A local version's "+" may be written "_" in a folder's name.
    if kind != "egg-link" and name and version[:1].isdigit() and "_" not in version and "-" not in version:
        return name, version
    path = os.path.join(folder, entry)
    if kind == "egg-link":
        root = _read(path).splitlines()[0].strip()
        found = [x for x in os.listdir(root) if x.endswith(".egg-info")]
        path = os.path.join(root, found[0])
    if os.path.isdir(path):
        path = os.path.join(path, "METADATA" if kind == "dist-info" else "PKG-INFO")
    return _headers(path)


def _source(path):
    """Return what PEP 610 tells of a distribution's origin, without credentials."""
    data = json.loads(_read(path))
    url = str(data.get("url", ""))
    url = re.sub(r"//[^/@]*@", "//", url).split("?")[0].split("#")[0]
    kind, commit = "archive", None
    if "vcs_info" in data:
        kind, commit = "vcs", str(data["vcs_info"].get("commit_id") or "") or None
    elif "dir_info" in data:
        kind = "editable" if data["dir_info"].get("editable") else "directory"
    return {"url": _clip(url), "kind": kind, "commit": commit and _clip(commit)}


def _scan(problems):
    """Return {name: record} of the first distribution of each name on sys.path."""
    found = {}
    visited = set()
    for position, folder in enumerate(list(sys.path)):
        folder = folder if isinstance(folder, str) and folder else os.curdir
        try:
            real = os.path.realpath(folder)
            entries = os.listdir(folder) if real not in visited and os.path.isdir(folder) else ()
        except OSError as error:
            problems.append(
                {"kind": "unreadable", "package": None, "where": _clip(folder), "fix": type(error).__name__}
            )
            continue
        visited.add(real)
        for entry in sorted(entries):
            if entry.startswith("~") and os.path.isdir(os.path.join(folder, entry)):
                where = _clip(os.path.join(folder, entry))
                problems.append({"kind": "leftover", "package": None, "where": where, "fix": "Remove this folder"})
                continue
            match = _SUFFIX.match(entry)
            if match is None or len(found) >= LIMIT:
                continue
            try:
                _add(found, problems, folder, position, entry, match.group(1), match.group(2))
            except Exception:
                where = _clip(os.path.join(folder, entry))
                problems.append(
                    {"kind": "unreadable", "package": None, "where": where, "fix": "Reinstall this distribution"}
                )
    return found


def _add(found, problems, folder, position, entry, stem, kind):
    path = os.path.join(folder, entry)
    name, version = _identify(folder, entry, stem, kind)
    if not name or not version:
        raise ValueError(path)
    key = _normal(name)
    if key in found:
        if found[key]["position"] == position and found[key]["version"] != version:
            fix = "Reinstall %s: versions %s and %s lie in one folder" % (key, found[key]["version"], version)
            problems.append({"kind": "duplicate", "package": _clip(key), "where": _clip(path), "fix": _clip(fix)})
        return
    installer = source = None
    if kind == "dist-info":
        # One look into the folder instead of one for each file that may be missing.
        files = os.listdir(path) if os.path.isdir(path) else ()
        try:
            installer = _read(path + "/INSTALLER", 80).strip() or None if "INSTALLER" in files else None
        except OSError:
            installer = None
        try:
            source = _source(path + "/direct_url.json") if "direct_url.json" in files else None
        except Exception:
            problems.append(
                {"kind": "unreadable", "package": _clip(key), "where": _clip(path), "fix": "Reinstall %s" % _clip(key)}
            )
        if installer in ("pip", "uv") and "RECORD" not in files:
            fix = "Reinstall %s: its installation was interrupted" % key
            problems.append({"kind": "no_record", "package": _clip(key), "where": _clip(path), "fix": _clip(fix)})
    found[key] = {
        "name": _clip(key),
        "version": _clip(version),
        "installer": installer,
        "source": source,
        "position": position,
        "path": path,
        "folder": folder,
    }


def _modules():
    """Return {top-level module: (folder that it came from, its __version__)} of what the process has imported."""
    loaded = {}
    for name, module in list(sys.modules.items()):
        if not isinstance(name, str) or "." in name:
            continue
        try:
            spec = vars(module).get("__spec__")
            origin = vars(module).get("__file__") or getattr(spec, "origin", None)
            version = vars(module).get("__version__")
        except Exception:
            continue
        if not isinstance(origin, str):
            continue
        folder = os.path.dirname(origin)
        if os.path.basename(origin).startswith("__init__."):
            folder = os.path.dirname(folder)
        loaded[name] = (folder, version if isinstance(version, str) else None)
    return loaded


def _tops(record):
    """Return the top-level modules of a distribution, from its own record."""
    path = record["path"]
    try:
        key = (path, os.stat(path).st_mtime_ns)
    except OSError:
        return ()
    if key not in _TOPS:
        tops = set()
        for entry in ("top_level.txt", "RECORD"):
            try:
                lines = _read(os.path.join(path, entry), 1 << 20).splitlines()
            except OSError:
                continue
            for line in lines:
                head = line.split(",")[0].strip().split("/")[0]
                if entry == "RECORD" and (head.startswith(".") or head.endswith((".dist-info", ".data", ".pth"))):
                    continue
                tops.add(head.split(".")[0])
            if tops:
                break
        _TOPS[key] = tuple(sorted(tops - {"", "__pycache__"}))
    return _TOPS[key]


def _use(found):
    """Mark what the process has imported, and the version that it runs where a module tells it."""
    modules = _modules()
    versions = {}
    for name, (_, version) in modules.items():
        key = _normal(name)
        if key in found:
            versions[key] = version
    rest = {name for name in modules if _normal(name) not in found}
    folders = {os.path.realpath(modules[name][0]) for name in rest}
    real = {}
    for key, record in found.items():
        if key in versions or not rest:
            continue
        folder = record["folder"]
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        editable = (record["source"] or {}).get("kind") == "editable"
        if real[folder] not in folders and not editable:
            continue
        hits = [top for top in _tops(record) if top in rest]
        if hits:
            known = [modules[top][1] for top in hits if modules[top][1]]
            versions[key] = known[0] if len(known) == 1 else None
    named = _named() if _OWN else set()
    for key, record in found.items():
        record["in_use"] = key in versions and (key not in _OWN or not named.isdisjoint((key, *_tops(record))))
        record["loaded"] = None
        if key in versions:
            seen = versions[key]
            if seen is not None:
                record["loaded"] = _clip(seen)
            elif key in _BASELINE:
                record["loaded"] = _BASELINE[key]
            _BASELINE.setdefault(key, record["version"])


def _named():
    module_type = type(sys)
    names = set()
    for namespace in _NAMESPACES:
        for value in list(namespace.values()):
            if isinstance(value, module_type):
                name = vars(value).get("__name__")
                if isinstance(name, str):
                    names.add(name.split(".")[0])
                    names.add(_normal(name.split(".")[0]))
    return names


def baseline(fresh=False, namespaces=()):
    """Remember what is imported now; later upgrades of modules without a version of their own are seen by it.

    With `fresh`, no code of the user has run yet: what is imported now counts as the program's own.
    """
    try:
        found = _scan([])
        _use(found)
        _NAMESPACES[:] = namespaces
        if fresh:
            _OWN.update(key for key, record in found.items() if record["in_use"])
        return True
    except Exception:
        return False


def _machine():
    """Return (platform tag, host); `platform` and `sysconfig` are slow to import, so only where there is no uname."""
    if sys.platform == "linux":
        known = os.uname()
        return "linux-" + known.machine, known.nodename
    import platform
    import sysconfig

    return sysconfig.get_platform(), platform.node()


def _where():
    tag, host = _machine()
    info = sys.version_info
    python = "%d.%d.%d" % info[:3]
    if info[3] != "final":
        python += {"alpha": "a", "beta": "b", "candidate": "rc"}.get(info[3], "") + str(info[4])
    return {
        "python": python,
        "implementation": _clip(sys.implementation.name),
        "platform": _clip(tag),
        "prefix": _clip(sys.prefix),
        "base_prefix": _clip(sys.base_prefix),
        "executable": _clip(sys.executable or ""),
        "base_executable": _clip(getattr(sys, "_base_executable", "") or ""),
        "host": _clip(host),
        "pid": os.getpid(),
    }


def probe():
    """Return the reading of this process as JSON; an ``error`` key stands for a reading that failed as a whole."""
    try:
        problems = []
        found = _scan(problems)
        try:
            _use(found)
        except Exception as error:
            fix = "What is imported could not be read: " + type(error).__name__
            problems.append({"kind": "unreadable", "package": None, "where": "sys.modules", "fix": fix})
        reading = _where()
        keys = ("name", "version", "loaded", "source", "installer", "in_use")
        reading["packages"] = [{key: found[name].get(key) for key in keys} for name in sorted(found)]
        for package in reading["packages"]:
            package["in_use"] = bool(package["in_use"])
        reading["problems"] = problems[:LIMIT]
        return json.dumps(reading)
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})


def fingerprint():
    """Return a cheap key that changes when anything is installed, upgraded or removed, as JSON."""
    try:
        import hashlib

        seen = hashlib.blake2b(digest_size=16)
        for folder in list(sys.path):
            try:
                with os.scandir(folder or os.curdir) as entries:
                    marks = sorted(
                        (entry.name, entry.stat().st_mtime_ns)
                        for entry in entries
                        if entry.name.endswith(("-info", ".egg-link", ".pth")) or entry.name.startswith("~")
                    )
            except (OSError, TypeError):
                continue
            if marks:
                seen.update(repr(marks).encode("utf-8", "surrogateescape"))
        reading = _where()
        reading["fingerprint"] = seen.hexdigest()
        return json.dumps(reading)
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
