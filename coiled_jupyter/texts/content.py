"""Examines, beside a reading, what a version number doesn't show: the files that an import would lead to.

Evaluated with ``exec(text, namespace)`` in a kernel or on a node. ``places()`` returns where this process looks for modules;
the text ``imports`` examines those places in a child of low priority, for the disk is none of the process's business.
``look(…)`` starts that if the last result is old, and returns that result's key, or ``""``; ``last()`` returns
that result with its key and age, ``result()`` as JSON alone: what ``imports`` answers, with ``at``, when it was begun.

Rules: Python 3.8, standard library only, never raises; the child ends with its process, and writes but its own cache.
"""

import base64
import hashlib
import importlib.machinery as machinery
import json
import os
import subprocess
import sys
import threading
import time
import zlib

IMPORTS = ""
"""The text ``imports``, compressed by zlib, as Base64 text."""
FRESH_SECONDS = 20.0
GLANCE_SECONDS = 1.0
SECONDS = 300.0
"""How long one look may take."""
NICE = 10
"""By how much the child gives way to the process: at 19 it would take minutes beside a worker that computes."""
SIZE_LIMIT = 16 << 20
PACE = 4.0
"""Seconds of sleep per second of work where no child can be started and a thread of the process has to do it."""
# A text of its own is compiled in the child, which has nothing of this process but these places.
_CHILD = (
    "import base64, gc, json, os, sys, zlib\n"
    # What it makes is needed until it ends.
    "gc.disable()\n"
    "asked = json.loads(sys.stdin.readline())\n"
    "space = {'__name__': 'coiled-jupyter imports'}\n"
    "try: os.nice(asked.pop('nice'))\n"
    "except (OSError, AttributeError): pass\n"
    "exec(compile(zlib.decompress(base64.b64decode(asked.pop('text'))), '<coiled-jupyter imports>', 'exec'), space)\n"
    "sys.stdout.write(space['told'](json.dumps(asked)))\n"
)
# Finders that serve no top-level module of their own, and change no code (pytest's explains failed assertions).
_TAME = frozenset(
    (
        "IPython.utils.shimmodule",
        "_distutils_hack",
        "_pytest.assertion.rewrite",
        "_virtualenv",
        "importlib_metadata",
        "pkg_resources.extern",
        "setuptools.extern",
        "six",
        "tlz._build_tlz",
    )
)
_LOCK = threading.Lock()
_STATE = {
    "thread": None,
    "asked": None,
    "ended": 0.0,
    "glanced": 0.0,
    "took": 0.0,
    "result": None,
    "begun": None,
    "key": "",
    "imported": 0,
}
# {path: (its time when it was last examined, what in it matters)} of the folders and files at the top of what
# was examined. A folder beside the program may be written to all the time, so only there that is kept.
_WATCHED = {}
_MATTERS = (".py", ".pyc", ".so", ".pyd", ".pth", ".zip", ".egg", ".egg-link", ".dist-info", ".egg-info")


# ---- the places ----------------------------------------------------------------------------------------------------


def places():
    """Return where this process looks for modules, in order; reads no file."""
    found, unknown = [], []
    for finder in list(sys.meta_path):
        kind = finder if isinstance(finder, type) else type(finder)
        home = str(kind.__module__)
        if finder is machinery.PathFinder:
            entries = [_entry(each, unknown) for each in list(sys.path) if isinstance(each, (str, bytes))]
            found.append({"kind": "path", "entries": entries})
        elif finder in (machinery.BuiltinImporter, machinery.FrozenImporter):
            continue
        elif isinstance(getattr(sys.modules.get(home), "MAPPING", None), dict) and home.startswith("__editable__"):
            mapping = sys.modules[home].MAPPING  # setuptools
            found.append({"kind": "editable", "by": home, "names": {str(k): str(v) for k, v in mapping.items()}})
        elif isinstance(getattr(finder, "_redirections", None), dict):  # hatchling and others, by `editables`
            mapping = finder._redirections
            found.append({"kind": "editable", "by": home, "names": {str(k): str(v) for k, v in mapping.items()}})
        elif isinstance(getattr(finder, "known_source_files", None), dict):  # scikit-build-core
            base = str(getattr(finder, "path", None) or "")
            files = {str(k): str(v) for k, v in finder.known_source_files.items()}
            files.update(
                (str(k), os.path.join(base, str(v))) for k, v in getattr(finder, "known_wheel_files", {}).items()
            )
            found.append({"kind": "files", "by": home, "names": files})
        elif home not in _TAME and not home.endswith(".six") and hasattr(finder, "find_spec"):
            label = home + "." + kind.__name__
            unknown.append(
                ["the finder " + label, "it may serve modules, or change code, in ways that can't be listed"]
            )
    return {
        "found": found,
        "unknown": unknown,
        "loaded": _loaded(),
        "sites": _sites(),
        "prefix": sys.prefix,
        "stdlib": _library(),
        "tag": sys.implementation.cache_tag,
        "suffixes": machinery.EXTENSION_SUFFIXES,
        "optimize": sys.flags.optimize,
        "pycache_prefix": sys.pycache_prefix,
    }


def _library():
    library = getattr(sys, "_stdlib_dir", None) or os.path.dirname(os.__file__)
    parts = ("lib-dynload", "DLLs", "python%d%d.zip" % sys.version_info[:2])
    others = [path for path in sys.path if isinstance(path, str) and os.path.basename(path) in parts]
    return [os.path.abspath(path) for path in (library, *others)]


def _sites():
    site = sys.modules.get("site")  # To import it here would ask the finders.
    try:
        return site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
    except Exception:
        return []


def _loaded():
    """Return ``{top-level name: file or folder}`` of the imported modules that have one."""
    loaded = {}
    for number, (name, module) in enumerate(list(sys.modules.items())):
        if number % 50 == 0:
            # Otherwise whoever else wants to run waits until Python takes its turn away.
            time.sleep(0)
        if not isinstance(name, str) or "." in name or name.startswith("__"):
            continue
        try:
            space = vars(module)
            path = space.get("__file__") or getattr(space.get("__spec__"), "origin", None)
            if not isinstance(path, str):
                path = next(iter(space.get("__path__", ())), None)
        except Exception:
            continue
        if isinstance(path, str) and os.path.isabs(path):
            loaded[name] = path
    return loaded


def _entry(given, unknown):
    """Return one entry of sys.path with what really reads it."""
    key = os.fsdecode(given)
    path = os.path.abspath(key) if key else os.getcwd()
    finder = sys.path_importer_cache.get(key or path, unknown)
    if finder is None and os.path.exists(path):
        why = "it was missing when this process looked first, and is looked at again only after importlib.invalidate_caches()"
        unknown.append([path, why])
    if finder is unknown or finder is None:
        finder = None
        for hook in sys.path_hooks:
            try:
                finder = hook(key or path)
                break
            except Exception:
                continue
    kind = finder if isinstance(finder, type) else type(finder)
    if kind is machinery.FileFinder:
        if any(not getattr(loader, "__module__", "").startswith("_frozen_importlib") for _, loader in finder._loaders):
            unknown.append([path, "it is read by a loader that may change code"])
        return {"kind": "dir", "path": path}
    if kind.__module__ == "zipimport":
        return {"kind": "zip", "path": os.path.abspath(finder.archive), "below": finder.prefix.replace(os.sep, "/")}
    spaces = getattr(sys.modules.get(kind.__module__), "NAMESPACES", None)
    if kind.__module__.startswith("__editable__") and isinstance(spaces, dict):
        return {"kind": "spaces", "path": key, "names": {str(k): [str(p) for p in v] for k, v in spaces.items()}}
    if finder is not None:
        unknown.append([path, "it is read by %s.%s" % (kind.__module__, kind.__name__)])
    return {"kind": "missing", "path": path}


# ---- the look -----------------------------------------------------------------------------------------------------


def _cache():
    """Return the path of the file in which digests are kept for the next look, or None where none can be."""
    owner = os.getuid() if hasattr(os, "getuid") else 0
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    # What another release of this text has kept may mean something else.
    name, text = (
        hashlib.blake2b(repr(of).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        for of in ((sys.prefix, sys.version), IMPORTS)
    )
    host = os.uname().nodename if hasattr(os, "uname") else ""
    wanted = os.environ.get("COILED_JUPYTER_CACHE_DIR")
    for folder in (wanted or os.path.join(base, "coiled-jupyter"), os.path.join("/tmp", "coiled-jupyter-%d" % owner)):  # noqa: S108
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            status = os.lstat(folder)
            if os.path.isdir(folder) and os.access(folder, os.W_OK) and status.st_uid == owner:
                return os.path.join(folder, "%s-%s-%s.json" % (host, name, text))
        except OSError:
            continue
    return None


def _examine(asked):
    """Return what ``told`` of the text ``imports`` does, from a child, or from this thread where none can be started."""
    text = json.dumps({**asked, "text": IMPORTS, "parent": os.getpid(), "nice": NICE})
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        # Without `close_fds` the child is spawned, not forked: no handler of a fork runs in a process with threads.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=False
        ) as child:
            guard = threading.Timer(asked["seconds"] + 30.0, child.kill)
            guard.daemon = True
            guard.start()
            try:
                child.stdin.write(text.encode("utf-8", "surrogateescape") + b"\n")
                child.stdin.close()
                answer = child.stdout.read(SIZE_LIMIT + 1)
            finally:
                guard.cancel()
                child.kill()
        if len(answer) > SIZE_LIMIT:
            return [], "large", '{"error": "the answer is too large"}'
        # The rest stays a text: a thread that decodes it would hold up the process.
        first, _, text = answer.decode("utf-8").partition("\n")
        watched, key = json.loads(first)
        if text.startswith("{"):
            return watched, key, text
    except (OSError, TypeError, ValueError):
        pass
    space = {"__name__": "coiled-jupyter imports"}
    source = zlib.decompress(base64.b64decode(IMPORTS))
    exec(compile(source, "<coiled-jupyter imports>", "exec"), space)  # noqa: S102 - our own text
    first, _, text = space["told"](json.dumps({**asked, "pace": PACE})).partition("\n")
    return (*json.loads(first), text)


def _work(records, local, wanted, forget):
    # The reading that was requested goes first.
    time.sleep(0.2)
    begun, start = time.time(), time.monotonic()
    try:
        asked = {"places": places(), "local": local, "wanted": wanted, "cache": _cache(), "seconds": SECONDS}
        watched, key, text = _examine(asked)
    except BaseException as error:
        watched, key, text = (), type(error).__name__, json.dumps({"error": type(error).__name__})
    beside = _beside()
    if any(stamp is not None and stamp != _time(path) for _, path, stamp, _, _ in records):
        # Something changed within a folder of metadata, which a reading of packages doesn't open each time.
        forget()
    answer = '{"at": %r, "seconds": %r, %s' % (begun, round(time.time() - begun, 3), text[1:])
    now = time.monotonic()
    with _LOCK:
        _WATCHED.clear()
        for path in watched:
            names = _names(path) if path in beside else None
            moment = _time(path)
            # What changed since it was begun is examined again.
            _WATCHED[path] = (-1 if begun <= moment / 1e9 <= time.time() else moment, names)
        _STATE.update(thread=None, ended=now, glanced=now, took=now - start, result=answer, begun=begun, key=key)


def _glance(*work):
    """Examine everything again if what an installer touches first was touched since."""
    changed = False
    for path, (before, names) in list(_WATCHED.items()):
        moment = _time(path)
        if moment != before:
            if before == -1 or names is None or _names(path) != names:
                changed = True
                break
            _WATCHED[path] = (moment, names)
    if not changed:
        with _LOCK:
            _STATE.update(thread=None, glanced=time.monotonic())
        return
    with _LOCK:
        # Earlier results no longer hold.
        _STATE.update(result=None, begun=None, key="")
    _work(*work)


def _beside():
    """Return the folders on the path into which no installer writes."""
    installed = [os.path.realpath(path) for path in _sites() + _library()]
    places = [os.path.abspath(path) for path in sys.path if isinstance(path, str)]
    return {path for path in places if os.path.realpath(path) not in installed}


def _names(path):
    """Return what of a folder an import could find, with the times of its files."""
    found = set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if "." not in entry.name and entry.is_dir():
                    found.add((entry.name, 0))
                elif entry.name.endswith(_MATTERS):
                    found.add((entry.name, entry.stat().st_mtime_ns))
    except OSError:
        found.add(("", time.monotonic()))
    return frozenset(found)


def _time(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def look(records, installed_key, local, wanted, forget):
    """Start to examine the files if that is due, and return the key of the last result or ``""``.

    Parameters
    ----------
    records
        A callable that returns ``[(name, path of its metadata, its time when it was read, folder that it lies in,
        source)]``.
    installed_key
        The key of that reading: another one invalidates the last result at once.
    local
        Whether code beside the program, of no distribution, is examined too.
    wanted
        Names of such modules in another process.
    forget
        Called, in the thread, when `records` may no longer be current.

    """
    try:
        asked = (installed_key, bool(local), tuple(sorted({str(name) for name in wanted}))[:500])
        with _LOCK:
            if _STATE["asked"] != asked:
                _STATE.update(result=None, begun=None, key="", ended=0.0)
            # A look may take a tenth of the time, but for one that takes so long that its result would get too old.
            pause = min(max(FRESH_SECONDS, 9 * _STATE["took"]), 2 * FRESH_SECONDS)
            due = time.monotonic() - _STATE["ended"] > pause or not _STATE["ended"]
            # What was imported since may be code beside the notebook; the other results still hold.
            imported = hash((tuple(sys.modules), tuple(map(str, sys.path)))) if local else 0
            due = due or _STATE["imported"] != imported
            glance = time.monotonic() - _STATE["glanced"] > GLANCE_SECONDS
            if (due or glance) and _STATE["thread"] is None:
                _STATE.update(asked=asked, imported=imported)
                thread = threading.Thread(
                    target=_work if due else _glance,
                    args=(records(), asked[1], asked[2], forget),
                    name="coiled-jupyter content",
                    daemon=True,
                )
                _STATE["thread"] = thread
                thread.start()
            return _STATE["key"] if _STATE["asked"] == asked else ""
    except BaseException:
        return ""


def last():
    """Return ``(key, seconds since it was begun, JSON)`` of the last result, ``("", None, "null")`` where there is none."""
    with _LOCK:
        key, begun, text = _STATE["key"], _STATE["begun"], _STATE["result"]
    return (key, max(time.time() - begun, 0.0), text) if key and text else ("", None, "null")


def result():
    """Return the last result as JSON, or ``null`` where there is none yet."""
    try:
        return last()[2]
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
