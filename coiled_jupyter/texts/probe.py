"""Reads the environment of the process that evaluates it: every distribution, what is loaded, what is damaged.

Evaluated with ``exec(text, namespace)`` in a kernel, scheduler or worker. Then ``probe()`` returns the whole reading as
one JSON text; ``keys()`` returns ``"<installed> <loaded>"``, two digests that stay equal while nothing changes, at almost
no cost; ``loaded()`` returns as JSON what this process has loaded, ``{name: [version or null, use]}``, where the use is
``imported`` (the user's code names it), ``loaded`` (another package, or nobody knows who, has imported it) or ``""`` (the
program's own).

Rules: Python 3.8, standard library only, never raises, no network, no subprocess, writes nothing; the user's modules are
examined through ``vars`` only, since a module's ``__getattr__`` may run code or warn.
"""

import json
import os
import re
import sys
import time

LIMIT = 20000
TEXT_LIMIT = 500
OLDER = "what was there before"
"""Stands for the loaded version where a package was replaced, or code without a version edited, after its import."""
# A pipe in the place of a file must not block the reader.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_SEPARATORS = re.compile(r"[-_.]+")
# Settings of Dask that say how a process of a cluster runs, and differ on purpose.
_OWN_SETTINGS = tuple(
    "DASK_%s_" % name
    for name in [
        "ADMIN",
        "CLOUDPROVIDER",
        "COILED",
        "CONFIG",
        "DISTRIBUTED",
        "GATEWAY",
        "INTERNAL",
        "JOBQUEUE",
        "KUBERNETES",
        "LABEXTENSION",
        "LOGGING",
        "RPC",
        "SCHEDULER",
        "TEMPORARY",
        "WORKER",
        "YARN",
    ]
)
_SECRET = re.compile(r"AUTH|CERT|CREDENTIAL|KEY|PASS|SECRET|TOKEN")
_KINDS = ("dist-info", "egg-info", "egg-link")
# As deep as namespaces go in which distributions lie: azure.storage.blob.
PARTS = 3
# Top-level modules by each distribution's record, by (path, mtime): read once per process.
_TOPS = {}
# {name: (version, time of its metadata)} of what was installed when the process imported it, as far as is known.
_RUNS = {}
# What was installed, as `_RUNS`, and the modules that were imported, at earlier readings of the process.
_LOOKS = []
# Distributions that the program itself (such as the kernel) had imported before any code of the user ran.
_OWN = set()
# The last reading, with what it was derived from.
_LAST = {}
# Returns [(module, path)] of loaded code that differs from its file (the text `edits`).
_EDITED = [tuple]
# The user's namespaces, if the program has any: a module named there counts as the user's, whoever imported it.
_NAMESPACES = []
# What a shell puts into the user's namespace by itself.
_SHELL = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_IMPORT = re.compile(
    r"(?:^|;)[ \t]*(?:import[ \t]+([^#;\n]{1,500})|from[ \t]+([\w.]{1,200})[ \t]+import[ \t]+([^#;\n]{0,500}))", re.M
)
# What the cells that ran name in imports, and how many they are; likewise the files of local modules, by path and time.
_CELLS = {"seen": 0, "names": set()}
_FILES = {}


def _clip(value):
    if not isinstance(value, str):
        return ""
    # Names that aren't UTF-8 hold lone surrogates in Python, which no JSON decoder accepts.
    value = value[:TEXT_LIMIT]
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _normal(name):
    return _SEPARATORS.sub("-", name).lower()


def _line(path):
    """Return the text of a file that holds one short word; a thousand are read, so each system call counts."""
    descriptor = os.open(path, _FLAGS)
    try:
        return os.read(descriptor, 80).decode("utf-8", "replace").strip()
    finally:
        os.close(descriptor)


def _read(path, size=65536):
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


def _identify(path, stem, kind):
    """Return (name, version) of one metadata entry; the file itself is read if the name is ambiguous."""
    if kind == "egg-info":
        stem = re.sub(r"-py\d+(\.\d+)?(-.*)?$", "", stem)
    name, _, version = stem.partition("-")
    # A local version's "+" may be written "_" in a folder's name.
    if kind != "egg-link" and name and version[:1].isdigit() and "_" not in version and "-" not in version:
        return name, version
    if kind == "egg-link":
        root = _read(path).splitlines()[0].strip()
        found = [x for x in os.listdir(root) if x.endswith(".egg-info")]
        path = os.path.join(root, found[0])
    if os.path.isdir(path):
        path = os.path.join(path, "METADATA" if kind == "dist-info" else "PKG-INFO")
    return _headers(path)


def _started():
    """Return the time at which this process started, or None if the system has no cheap way to tell."""
    try:
        ticks = int(_read("/proc/self/stat").rpartition(")")[2].split()[19])
        # In whole seconds, rounded down, as in /proc/stat, which is slow to read.
        boot = int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
        # A forked process has what its parent had imported.
        return min(boot + ticks / os.sysconf("SC_CLK_TCK"), getattr(sys, "_coiled_jupyter_started", float("inf")))
    except Exception:
        return None


def _source(path):
    """Return a distribution's origin (PEP 610), without credentials."""
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
        except (OSError, ValueError) as error:
            problems.append(
                {"kind": "unreadable", "package": None, "where": _clip(folder), "fix": type(error).__name__}
            )
            continue
        visited.add(real)
        inside = os.path.join(folder, "")
        for entry in sorted(entries):
            if entry[:1] == "~" and os.path.isdir(inside + entry):
                where = inside + entry
                name = _leftover(where, entries)
                fix = "Remove this folder"
                problems.append({"kind": "leftover", "package": name, "where": _clip(where), "fix": fix})
                continue
            stem, dot, kind = entry.rpartition(".")
            if not dot or kind not in _KINDS or len(found) >= LIMIT:
                continue
            try:
                _add(found, problems, folder, inside + entry, position, stem, kind)
            except Exception:
                where = _clip(inside + entry)
                problems.append(
                    {"kind": "unreadable", "package": None, "where": where, "fix": "Reinstall this distribution"}
                )
    return found


def _leftover(path, entries):
    """Return the distribution that an interrupted pip has moved aside as ``~ame``, or None if that is unknown."""
    try:
        if path.endswith(".dist-info"):
            return _clip(_normal(_headers(os.path.join(path, "METADATA"))[0])) or None
    except OSError:
        pass
    rest = os.path.basename(path)[1:].split("-")[0].lower()
    for entry in entries:
        # pip replaces the first letter; a later install has brought the name back.
        name = entry.split("-")[0].lower()
        if entry.endswith(".dist-info") and name[1:] == rest:
            return _clip(_normal(name))
    return None


def _add(found, problems, folder, path, position, stem, kind):
    name, version = _identify(path, stem, kind)
    if not name or not version:
        raise ValueError(path)
    key = _clip(_normal(name))
    if key in found:
        if found[key]["position"] == position and found[key]["version"] != version:
            fix = "Reinstall %s: versions %s and %s lie in one folder" % (key, found[key]["version"], version)
            problems.append({"kind": "duplicate", "package": key, "where": _clip(path), "fix": _clip(fix)})
        return
    installer = source = stamp = None
    requested = False
    try:
        # Before its files, so that a later change of them changes this time too.
        stamp = os.stat(path).st_mtime_ns
    except OSError:
        pass
    if kind == "dist-info":
        # One call each: listing the folder takes longer than a stat of the few files that matter.
        exists = os.access
        try:
            installer = _line(path + "/INSTALLER") or None
        except OSError:
            pass
        if exists(path + "/direct_url.json", os.F_OK):
            try:
                source = _source(path + "/direct_url.json")
            except Exception:
                fix = "Reinstall %s" % key
                problems.append({"kind": "unreadable", "package": key, "where": _clip(path), "fix": fix})
        requested = exists(path + "/REQUESTED", os.F_OK)
        # Debian's and conda's packages may have no RECORD; pip and uv write INSTALLER just before it, and an uninstall
        # that was killed leaves an empty folder.
        if not exists(path + "/RECORD", os.F_OK) and (
            installer in ("pip", "uv")
            or (installer is None and (exists(path + "/WHEEL", os.F_OK) or not exists(path + "/METADATA", os.F_OK)))
        ):
            fix = "Reinstall %s: its installation was interrupted" % key
            problems.append({"kind": "no_record", "package": key, "where": _clip(path), "fix": _clip(fix)})
    found[key] = {
        "name": key,
        "version": _clip(version),
        "installer": installer,
        "source": source,
        "requested": requested,
        "position": position,
        "path": path,
        "folder": folder,
        "stamp": stamp,
    }


def _modules():
    """Return {module: (folder on the path, its __version__, its file)} of the imported top-level modules.

    A namespace has no file, and several distributions may share it: what lies in it counts, such as ``google.protobuf``
    and ``azure.storage.blob``.
    """
    loaded, spaces = {}, {}
    for name, module in list(sys.modules.items()):
        if not isinstance(name, str):
            continue
        space, dot, _ = name.rpartition(".")
        if dot and space not in spaces:
            spaces[space] = _is_namespace(space)
        if dot and not spaces[space]:
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
        for _ in range(name.count(".") + os.path.basename(origin).startswith("__init__.")):
            folder = os.path.dirname(folder)
        loaded[name] = (folder, version if isinstance(version, str) else None, origin)
    return loaded


def _is_namespace(name):
    try:
        space, above = vars(sys.modules[name]), name.rpartition(".")[0]
        return not space.get("__file__") and "__path__" in space and (not above or _is_namespace(above))
    except Exception:
        return False


def _written(version, origin):
    """Whether the module's file on disk has this version: then the version is no sign of an older module."""
    files = [origin]
    if os.path.basename(origin).startswith("__init__."):
        folder = os.path.dirname(origin)
        files += [
            os.path.join(folder, name) for name in ("_version.py", "version.py", "__about__.py", "__version__.py")
        ]
    literal = r"""^\s*(__version__|version)\b[^=\n]*=[^'"\n]*['"]%s['"]""" % re.escape(version)
    for path in files:
        try:
            text = _read(path) if path.endswith(".py") else ""
            if version in text and re.search(literal, text, re.MULTILINE):
                return True
        except (OSError, UnicodeError):
            continue
    return False


def _tops(record):
    """Return the top-level modules of a distribution, and what it has in namespaces, from its own record."""
    path = record["path"]
    try:
        key = (path, os.stat(path).st_mtime_ns)
    except OSError:
        return ()
    if key not in _TOPS:
        tops = set()
        for entry in ("RECORD", "top_level.txt"):
            try:
                lines = _read(path + "/" + entry, 1 << 20).split("\n")
            except OSError:
                continue
            files = [line.split(",", 1)[0].strip().split("/", PARTS) for line in lines]
            heads = {file[0] for file in files}
            if entry == "RECORD":
                heads = {h for h in heads if h[:1] != "." and not h.endswith((".dist-info", ".data", ".pth"))}
                tops, whole = set(), {tuple(file[:-1]) for file in files if file[-1].startswith("__init__.")}
                for file in files:
                    depth = 1
                    while depth < len(file) and tuple(file[:depth]) not in whole:
                        depth += 1
                    if 1 < depth <= PARTS and file[0] in heads:
                        tops.add(".".join([*file[: depth - 1], file[depth - 1].split(".")[0]]))
            tops |= {head.split(".")[0] for head in heads}
            if tops:
                break
        _TOPS[key] = tuple(sorted(tops - {"", "__pycache__"}))
    return _TOPS[key]


def _use(found):
    """Mark what the process has imported, with the loaded version where a module has one; return what the user's code names."""
    modules = _modules()
    versions, tops = {}, {}
    for name, (_, version, origin) in modules.items():
        key = _normal(name)
        if key in found:
            versions[key] = (version, origin)
            tops.setdefault(key, set()).add(name)
    rest = {name for name in modules if _normal(name) not in found}
    folders = {os.path.realpath(folder) for folder in {modules[name][0] for name in rest}}
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
            known = [modules[top][1:] for top in hits if modules[top][1]]
            versions[key] = known[0] if len(known) == 1 else (None, "")
            tops[key] = set(hits)
    brought = _brought()
    named = _named()
    if _NAMESPACES:
        named |= _local(found)
        named.update([_normal(name) for name in named])
    started = None if _LOOKS else _started()
    for key, record in found.items():
        own = key in _OWN or (key in tops and tops[key] <= brought)
        if named and not named.isdisjoint((key, *tops.get(key, ()))):
            record["use"] = "imported"
        else:
            record["use"] = "loaded" if key in versions and not own else ""
        record["loaded"] = None
        if key in versions:
            seen, origin = versions[key]
            if key not in _RUNS:
                _RUNS[key] = _first(record, tops[key], started)
            version, stamp = _RUNS[key]
            # Not every module has the version under which its package is installed.
            if seen is None or (seen != record["version"] and _written(seen, origin)):
                seen = version
            # The same version with other files: the version doesn't show it. Trees of editable installs are compared by file.
            editable = (record["source"] or {}).get("kind") == "editable"
            again = version == record["version"] and stamp != record["stamp"] and not editable
            record["loaded"] = OLDER if again or (version == OLDER and seen == record["version"]) else _clip(seen)
    _LOOKS[:] = [({key: (record["version"], record["stamp"]) for key, record in found.items()}, frozenset(modules))]
    return sorted(map(_clip, named))[:LIMIT]


def _brought():
    """Return the top-level modules that only our own package, which the user has loaded, has imported."""
    try:
        known = vars(sys.modules["coiled_jupyter"])["BROUGHT"]
    except Exception:
        # It isn't there, is another release, or is something else of that name.
        return frozenset()
    return known if isinstance(known, frozenset) else frozenset()


def _first(record, tops, started):
    """Return what was installed when a distribution was imported, by its modules `tops`, as far as that is known.

    It was imported after the last reading that didn't see it; what was installed then may still be loaded. Before the
    first reading it may have been imported at any time since the process started.
    """
    now = (record["version"], record["stamp"])
    for position, (_, imported) in enumerate(_LOOKS):
        if not tops.isdisjoint(imported):
            return _LOOKS[max(position - 1, 0)][0].get(record["name"], now)
    if _LOOKS:
        return _LOOKS[-1][0].get(record["name"], now)
    try:
        status = os.stat(record["path"])
        # A copy may keep the times of the original.
        replaced = started is not None and max(status.st_mtime, status.st_ctime) > started + 1
    except OSError:
        replaced = False
    return (OLDER, None) if replaced else now


def _named():
    """Return the modules that the user's cells and values name, also below a top-level one."""
    names = set()
    for namespace in _NAMESPACES:
        cells = namespace.get("In")
        if type(cells) is list:
            if len(cells) < _CELLS["seen"]:
                _CELLS.update(seen=0)
            for cell in cells[_CELLS["seen"] :]:
                _CELLS["names"].update(_imports(cell) if isinstance(cell, str) else ())
            _CELLS["seen"] = len(cells)
        for name, value in list(namespace.items()):
            home = _home(value) if name not in _SHELL else None
            if isinstance(home, str) and (name[:1] != "_" or type(value) is type(sys)):
                names.update(_wholes(home))
    return names | _CELLS["names"] if _NAMESPACES else names


def _sealed():
    """Return the ids of the schedulers to which Dask clients of this process send sealed graphs (the text ``seal``)."""
    known = sys.modules.get("_coiled_jupyter_seal")
    client = getattr(sys.modules.get("distributed.client"), "Client", None)
    if known is None or not hasattr(getattr(client, "_graph_to_futures", None), "unsealed"):
        return []
    return sorted(known.schedulers)


def _home(value):
    """Return the module that a value is, or comes from."""
    try:
        kind = type(value)
        if kind is type(sys):
            return vars(value).get("__name__")
        if issubclass(kind, type):
            return vars(value).get("__module__")
        if kind is type(_home) or kind is type(len):
            return value.__module__
        home = vars(kind).get("__module__")
        # What %coiled has answered was imported by nobody.
        return None if str(home).startswith("coiled_jupyter.") else home
    except Exception:
        return None


def _wholes(name):
    parts = name.split(".")[:PARTS]
    return [".".join(parts[: length + 1]) for length in range(len(parts))]


def _imports(text):
    """Return the modules that a source names in imports; one that is written as text counts too."""
    names = set()
    for whole, source, inner in _IMPORT.findall(text[: TEXT_LIMIT * 400]):
        for each in whole.split(","):
            names.update(_wholes(each.split()[0]) if each.split() else ())
        if source and source[:1] != ".":
            names.update(_wholes(source))
            if source.count(".") < PARTS - 1:
                names.update(source + "." + each.split()[0].strip("()") for each in inner.split(",") if each.split())
    return names


def _local(found):
    """Return the modules that imported code of no installation, such as what lies beside a notebook, names in imports."""
    key = hash(tuple(sys.modules))
    if _FILES.get("") != key:
        installed = [os.path.dirname(os.path.realpath(os.__file__)), *_trees(found)]
        installed += [sys.prefix] if sys.prefix != sys.base_prefix else []
        inside = tuple(os.path.join(path, "") for path in installed)
        paths = set()
        for module in list(sys.modules.values()):
            try:
                path = vars(module).get("__file__")
            except Exception:
                continue
            if isinstance(path, str) and path.endswith(".py") and os.path.isabs(path):
                real = os.path.realpath(path)
                if not real.startswith(inside) and "site-packages" not in real and "dist-packages" not in real:
                    paths.add(path)
        for path in paths - set(_FILES):
            try:
                _FILES[path] = _imports(_read(path, 1 << 18))
            except OSError:
                _FILES[path] = set()
        for path in set(_FILES) - paths:
            del _FILES[path]
        _FILES[""] = key
    return set().union(*(names for path, names in _FILES.items() if path))


def _trees(found):
    """Return ``{folder, with links resolved: distribution}`` of the editable installs."""
    from urllib.parse import unquote, urlsplit

    trees = {}
    for key, record in found.items():
        source = record["source"] or {}
        if source.get("kind") == "editable" and source.get("url", "").startswith("file://"):
            trees[os.path.join(os.path.realpath(unquote(urlsplit(source["url"]).path)), "")] = key
    return trees


def baseline(fresh=False, namespaces=(), own=None):
    """Remember what is imported now, to notice later upgrades of modules without a version of their own.

    With `fresh`, what is imported now counts as the program's own: no code of the user has run yet, or only `own` can be
    the program's.
    """
    try:
        found = _look()["found"]
        _NAMESPACES[:] = namespaces
        if fresh:
            _OWN.update(key for key, record in found.items() if record.get("use") and (own is None or key in own))
        _LAST.clear()
        return True
    except Exception:
        return False


def watch(edited):
    """Call `edited`, of the text ``edits``, at each reading."""
    _EDITED[0] = edited


def _older(edited, found):
    """Return ``{name: [version, in use]}`` of loaded code that differs from its file; mark editable installs."""
    others, trees = {}, _trees(found)
    for name, path in edited:
        real = os.path.realpath(path)
        owners = [key for root, key in trees.items() if real.startswith(root)]
        if owners:
            found[owners[0]]["loaded"] = OLDER
        else:
            top, dot, _ = name.partition(".")
            package = dot or os.path.basename(path) == "__init__.py"
            others[_clip(top + ("/" if package else ".py"))] = [OLDER, "imported"]
    return others


def recall(history):
    """Take over what was seen before this text was loaded: ``[([(folder, [(entry, time)])], [(module, version)])]``."""
    started = _started()
    looks = []
    for folders, imported in history:
        names = {}
        for folder, entries in folders:
            for entry, moment in entries:
                stem, _, kind = entry.rpartition(".")
                try:
                    name, version = _identify(os.path.join(folder, entry), stem, kind)
                except Exception:
                    continue
                names.setdefault(_normal(name), (version, moment))
        looks.append((names, frozenset(module for module, _ in imported)))
    if looks and started is not None:
        names, imported = looks[0]
        young = {name: (OLDER, None) for name, (_, moment) in names.items() if moment > (started + 1) * 1e9}
        # What was imported by then may have been imported earlier.
        looks.insert(0, ({**names, **young}, frozenset()))
    _LOOKS[:] = looks


def _machine():
    """Return (platform tag, host); `platform` and `sysconfig` are slow to import, so they are used only if there is no uname."""
    if sys.platform == "linux":
        known = os.uname()
        return "linux-" + known.machine, known.nodename
    import platform
    import sysconfig

    return sysconfig.get_platform(), platform.node()


def _conditions():
    """Return what of this process, besides code, its results depend on, by the variable that sets it."""
    # A built-in module: the path may lead anywhere.
    import _locale

    found = {
        "PYTHONOPTIMIZE": str(sys.flags.optimize),
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED") or ("random" if sys.flags.hash_randomization else "0"),
    }
    if sys.flags.utf8_mode or hasattr(_locale, "CODESET"):
        found["LC_CTYPE"] = "utf-8" if sys.flags.utf8_mode else _locale.nl_langinfo(_locale.CODESET).lower()
    for name in ("LC_NUMERIC", "LC_COLLATE", "LC_TIME"):
        found[name] = _locale.setlocale(getattr(_locale, name), None)
    clocks = [(time.tzname[0], time.timezone), (time.tzname[-1], time.altzone)][: 1 + bool(time.daylight)]
    found["TZ"] = "/".join("%s%+.4g" % (name, -seconds / 3600) for name, seconds in clocks)
    for name, value in list(os.environ.items()):
        if name.startswith("DASK_") and "__" in name and not name.startswith(_OWN_SETTINGS) and len(found) < 100:
            found[_clip(name)] = "set" if _SECRET.search(name) or "://" in value else _clip(value)
    return found


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
        "conditions": _conditions(),
    }


def _conda(found, problems):
    """Return what conda has installed besides Python distributions; mark the distributions that it installed."""
    folder = os.path.join(sys.prefix, "conda-meta")
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return []
    others = []
    for entry in entries[:LIMIT]:
        stem, dot, _ = entry.rpartition(".json")
        pieces = stem.rsplit("-", 2)
        if not dot or len(pieces) != 3:
            continue
        name, version, build = pieces
        try:
            # Keys are sorted, so the channel comes early; the lists of files that follow can have many megabytes.
            head = _read(os.path.join(folder, entry), 8192)
        except OSError:
            where = _clip(os.path.join(folder, entry))
            problems.append({"kind": "unreadable", "package": None, "where": where, "fix": "Look at this file"})
            continue
        channel = re.search(r'"channel"\s*:\s*"([^"]*)"', head)
        others.append(
            {
                "name": _clip(name.lower()),
                "version": _clip(version),
                "build": _clip(build),
                # A channel's address may hold a token.
                "channel": _clip(re.sub(r"//[^/@]*@|/t/[^/]*", "//", channel.group(1)) if channel else ""),
                "noarch": '"subdir": "noarch"' in head,
            }
        )
    return others


def _stamps():
    stamps = []
    for path in (*sys.path, os.path.join(sys.prefix, "conda-meta")):
        try:
            stamps.append(os.stat(path or os.curdir).st_mtime_ns)
        except (OSError, TypeError, ValueError):
            stamps.append(0)
    return stamps


def _signature():
    """Return a value that changes when something may have been installed, imported or named; costs a few stats.

    Few, because each may lose the interpreter's lock to a cell that loops. None if it isn't reliable: two changes within
    one tick of the file system's clock have the same time. The text `content` notices changes within a folder of
    metadata, and then calls `forget`.
    """
    times = _stamps()
    if times and abs(time.time_ns() - max(times)) < 2000000000:
        return None
    names = tuple(sorted(_named())) if _NAMESPACES else ()
    loaded = hash((tuple(sys.modules), _brought()))
    return tuple(times), tuple(map(str, sys.path)), loaded, names, _conditions(), _sealed()


def _digest(value):
    try:
        # As hashlib's, without loading OpenSSL where the process hasn't.
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b

    text = json.dumps(value, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _look():
    """Return the cached reading, renewed if anything may have changed."""
    edited = list(_EDITED[0]())
    known = _LAST and _LAST["signature"] is not None and _LAST["edited"] == edited
    if known and _LAST["signature"] == _signature():
        return _LAST
    before = [len(sys.modules), _stamps()]
    problems = []
    found = _scan(problems)
    named = []
    try:
        named = _use(found)
    except Exception as error:
        fix = "The imported modules could not be read: " + type(error).__name__
        problems.append({"kind": "unreadable", "package": None, "where": "sys.modules", "fix": fix})
    others = _older(edited, found) if edited else {}
    conda = _conda(found, problems)
    keys = ("name", "version", "source", "installer", "requested")
    installed = [{key: found[name][key] for key in keys} for name in sorted(found)]
    loaded = {
        name: [record.get("loaded"), record.get("use", "")]
        for name, record in sorted(found.items())
        if record.get("loaded") or record.get("use")
    }
    loaded.update(others)
    where = _where()
    where.pop("pid")
    # Encoded once: for a thousand distributions that takes some milliseconds.
    packages = json.dumps(installed)
    _LAST.clear()
    _LAST.update(
        signature=None,
        edited=edited,
        found=found,
        packages=packages,
        conda=conda,
        problems=problems[:LIMIT],
        loaded=loaded,
        named=named,
        sealed=_sealed(),
        installed_key=_digest([where, packages, conda, problems]),
        loaded_key=_digest([loaded, named, _sealed()]),
    )
    # Taken before where possible, so that the next reading notices what changed meanwhile.
    _LAST["signature"] = _signature() if before == [len(sys.modules), _stamps()] else None
    return _LAST


def forget():
    """Read everything anew the next time."""
    _LAST.clear()


def records():
    """Return ``[(name, path of its metadata, its time, folder that it lies in, source)]`` of every distribution."""
    return [(key, r["path"], r["stamp"], r["folder"], r["source"]) for key, r in sorted(_look()["found"].items())]


def keys():
    """Return ``"<installed> <loaded>"``; equal texts mean equal readings, times aside."""
    try:
        last = _look()
        return last["installed_key"] + " " + last["loaded_key"]
    except BaseException as error:
        return "error " + type(error).__name__


def loaded():
    """Return what this process has loaded, as JSON: ``{name: [version or null, in use]}``."""
    try:
        return json.dumps(_look()["loaded"])
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})


def probe():
    """Return the reading of this process as JSON; a reading that failed as a whole has an ``error`` key."""
    try:
        last = _look()
        reading = _where()
        reading["keys"] = last["installed_key"] + " " + last["loaded_key"]
        reading["loaded"] = last["loaded"]
        reading["named"] = last["named"]
        reading["sealed"] = last["sealed"]
        reading["conda"] = last["conda"]
        reading["problems"] = last["problems"]
        return json.dumps(reading)[:-1] + ', "packages": ' + last["packages"] + "}"
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
