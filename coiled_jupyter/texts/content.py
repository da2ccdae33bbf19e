"""Looks, beside a reading and in a thread of its own, at what a version number can't tell: the files themselves.

Evaluated with ``exec(text, namespace)`` in a kernel or on a node. ``look(…)`` begins where the
last look is old and returns the last result's key, or ``""``; ``result()`` returns the last result as JSON.

For each distribution: a digest of the code that would be imported, files that are missing, and files that were edited
since their install. For code beside the notebook (`local`: what this process has imported of it; `wanted`: what another
one has) a digest too. And the markers of requirements that stand on some platforms only.

Rules: Python 3.8, standard library only, never raises, nothing written; a thread that yields, ended with its process.
"""

import base64
import csv
import hashlib
import io
import json
import os
import re
import sys
import threading
import time

FRESH_SECONDS = 20.0
GLANCE_SECONDS = 1.0
FILE_LIMIT = 200000
TREE_LIMIT = 5000
HASH_LIMIT = 2 << 30
SHOWN = 5
_BUILT = (".so", ".pyd", ".dylib", ".dll")
_CODE = (".py", *_BUILT)
_BESIDE = frozenset(
    (
        "tests",
        "test",
        "testing",
        "docs",
        "doc",
        "examples",
        "build",
        "dist",
        "node_modules",
        "__pycache__",
        "benchmarks",
    )
)
_NOT_MODULES = frozenset(("setup.py", "conftest.py", "noxfile.py", "versioneer.py", "tasks.py", "fabfile.py"))
_SEPARATORS = re.compile(r"[-_.]+")
_LOCK = threading.Lock()
_STATE = {"thread": None, "asked": None, "ended": 0.0, "glanced": 0.0, "result": None, "key": "", "imported": 0}
# {path: its time when the last look came to it} of the folders and files at the top of what was looked at.
_WATCHED = {}
# {path: (size, mtime, ctime, digest)} of files that had to be read.
_HASHES = {}
_BUDGET = [0]


def _clip(text):
    # Names that aren't UTF-8 have halves of characters in Python, which no reader of JSON takes.
    return str(text)[:500].encode("utf-8", "replace").decode("utf-8")


def _hash(path, status, algorithm="sha256"):
    """Return a file's digest in the form of a RECORD."""
    mark = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, algorithm)
    known = _HASHES.get(path)
    if known is not None and known[0] == mark:
        return known[1]
    _BUDGET[0] -= status.st_size
    if _BUDGET[0] < 0:
        raise OverflowError
    seen = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            seen.update(piece)
    digest = base64.urlsafe_b64encode(seen.digest()).rstrip(b"=").decode("ascii")
    if len(_HASHES) < FILE_LIMIT:
        _HASHES[path] = (mark, digest)
    return digest


def _summary(files):
    """Return ``pure:…`` or ``built:…`` for ``{relative path: digest}`` of what would be imported."""
    built = any(name.endswith(_BUILT) for name in files)
    seen = hashlib.blake2b(digest_size=12)
    for name in sorted(files):
        seen.update(("%s\0%s\0" % (name, files[name])).encode("utf-8", "surrogateescape"))
    return ("built:" if built else "pure:") + seen.hexdigest()


def _watch(path):
    if path not in _WATCHED:
        _WATCHED[path] = _time(path)


def _of_record(path, folder):
    """Return (files, missing, edited) of an installed distribution, by its RECORD."""
    record = os.path.join(path, "RECORD")
    written = os.stat(record).st_mtime_ns
    with open(record, encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read(32 << 20)
    files, missing, edited = {}, [], []
    _watch(path)
    for number, row in enumerate(csv.reader(io.StringIO(text))):
        if len(row) < 3 or number > FILE_LIMIT:
            continue
        name, expected, size = row[0], row[1], row[2]
        top = name.split("/")[0]
        if name.endswith(".dist-info/METADATA") and not os.path.exists(os.path.join(folder, name)):
            missing.append(name)
        # Scripts are written anew at each install; bytecode and metadata aren't what is imported.
        if not expected or top in ("..", "") or os.path.isabs(name) or top.endswith((".dist-info", ".data")):
            continue
        _watch(os.path.join(folder, top))
        if number % 200 == 199:
            time.sleep(0.001)
        full = os.path.join(folder, name)
        code = name.endswith(_CODE)
        try:
            status = os.stat(full)
        except OSError:
            # Images leave tests out to be small.
            if code and not _BESIDE.intersection(name.split("/")[:-1]):
                missing.append(name)
            continue
        algorithm, _, digest = expected.partition("=")
        changed = size.isdigit() and int(size) != status.st_size
        if changed or max(status.st_mtime_ns, status.st_ctime_ns) > written:
            actual = _hash(full, status, algorithm if algorithm in hashlib.algorithms_available else "sha256")
            if actual != digest:
                edited.append(name)
                files[name] = actual
                continue
        if code:
            files[name] = digest
    return files, missing, edited


def _tree(root, top, files):
    """Add the digests of the code below ``root/top``, by their path relative to `root`."""
    full = os.path.join(root, top)
    _watch(full)
    if os.path.isfile(full):
        files[top] = _hash(full, os.stat(full))
        return
    for folder, folders, names in os.walk(full):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and not name.startswith("."))
        for name in sorted(names):
            if name.endswith(_CODE) and len(files) < TREE_LIMIT:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, root).replace(os.sep, "/")
                files[relative] = _hash(path, os.stat(path))


def _mapping(path):
    """Return ``{module: path}`` of setuptools' finder of an editable install."""
    import ast

    with open(path, encoding="utf-8", errors="replace") as file:
        tree = ast.parse(file.read(1 << 20))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(getattr(target, "id", None) == "MAPPING" for target in targets) and node.value is not None:
            value = ast.literal_eval(node.value)
            return {str(key): str(item) for key, item in value.items()}
    return {}


def _importable(root):
    """Return what a folder on sys.path gives to import, without what lies beside a project's code."""
    tops = []
    project = any(os.path.exists(os.path.join(root, name)) for name in ("pyproject.toml", "setup.py", "setup.cfg"))
    for name in sorted(os.listdir(root)):
        full = os.path.join(root, name)
        if name.startswith(".") or (project and (name in _BESIDE or name in _NOT_MODULES)):
            continue
        if name.endswith(_CODE) or (os.path.isfile(os.path.join(full, "__init__.py"))):
            tops.append(name)
    return tops


def _of_editable(name, path, folder, url):
    """Return the files that an editable distribution would import, from its own tree."""
    roots, files = [], {}
    try:
        with open(os.path.join(path, "RECORD"), encoding="utf-8", errors="surrogateescape") as file:
            entries = [line.split(",")[0] for line in file.read(1 << 20).splitlines()]
    except OSError:
        entries = []
    for entry in entries:
        full = os.path.join(folder, entry)
        if entry.endswith(".pth"):
            with open(full, encoding="utf-8", errors="replace") as file:
                lines = file.read(1 << 16).splitlines()
            roots += [x.strip() for x in lines if x.strip() and not x.startswith(("import ", "import\t", "#"))]
        elif "__editable__" in entry and entry.endswith("finder.py"):
            for module, target in _mapping(full).items():
                if os.path.exists(target):
                    base = os.path.dirname(target)
                    before = set(files)
                    _tree(base, os.path.basename(target), files)
                    last = module.split(".")[-1]
                    if last != os.path.basename(target) and os.path.isdir(target):
                        for added in set(files) - before:
                            files[last + "/" + added.partition("/")[2]] = files.pop(added)
    if not roots and not files and url.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        base = unquote(urlsplit(url).path)
        roots = [x for x in (os.path.join(base, "src"), base) if os.path.isdir(x)][:1]
    for root in roots:
        if os.path.isdir(root):
            for top in _importable(root):
                _tree(root, top, files)
    return files


def _path():
    """Return ``[(folder, its real path, names of what lies in it)]`` of sys.path, without Python's own library."""
    library = os.path.dirname(os.__file__)
    found = []
    for folder in sys.path:
        if folder in (library, os.path.join(library, "lib-dynload")):
            continue
        try:
            names = frozenset(os.listdir(folder or os.curdir))
        except (OSError, TypeError, ValueError):
            continue
        found.append((folder or os.curdir, os.path.realpath(folder or os.curdir), names))
    return found


def _shadow(path, files, home, own):
    """Return ``(folder, name)`` of other code that would be imported instead of `files`, or None.

    `home` is the real path of the folder that holds the distribution, `own` the real path of its tree, if it's editable.
    """
    tops = {name.split("/")[0].split(".")[0] for name in files} - _BESIDE
    for folder, real, names in path:
        if real == home and not own:
            return None
        if real == home or (own and (real + os.sep).startswith(own + os.sep)):
            continue
        for top in tops:
            if top in names and os.path.isfile(os.path.join(folder, top, "__init__.py")):
                return folder, top
            if top + ".py" in names:
                return folder, top + ".py"
    return None


def _conditions(path, found):
    """Add to `found` ``{required distribution: [marker or ""]}`` of what a distribution requires."""
    try:
        with open(os.path.join(path, "METADATA"), encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.strip():
                    return
                if line.startswith("Requires-Dist:"):
                    requirement, _, marker = line[14:].partition(";")
                    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
                    if match and "extra" not in marker:
                        name = _SEPARATORS.sub("-", match.group(1)).lower()
                        found.setdefault(name, set()).add(marker.strip())
    except OSError:
        return


def _file(module):
    try:
        path = vars(module).get("__file__")
    except Exception:
        return None
    return path if isinstance(path, str) else None


def modules(skipped=()):
    """Return ``{name: path}`` of the code that this process has imported and no distribution or Python brought."""
    outside = [os.path.realpath(x) + os.sep for x in {sys.prefix, sys.base_prefix, sys.exec_prefix, *skipped} if x]
    found = {}
    for name, module in list(sys.modules.items()):
        path = _file(module)
        if not isinstance(name, str) or name.startswith("__") or path is None:
            continue
        top, dot, _ = name.partition(".")
        # A package's file stands for all of it; a namespace has none, and is told by what is in it.
        if dot and (top in found or _file(sys.modules.get(top))):
            continue
        real = os.path.realpath(path)
        if not real.endswith(".py") or real.startswith(tuple(outside)) or "site-packages" in real.split(os.sep):
            continue
        if "dist-packages" in real.split(os.sep) or not os.path.isfile(real):
            continue
        up = name.count(".") + (os.path.basename(real) == "__init__.py")
        for _ in range(up):
            real = os.path.dirname(real)
        if not dot or os.path.basename(real) == top:
            found[top] = real
        if len(found) >= 500:
            break
    return found


def _find(name):
    """Return where this process would import a module from, without importing it."""
    import importlib.machinery

    module = sys.modules.get(name)
    origin = vars(module).get("__file__") if module is not None else None
    if origin is None:
        spec = importlib.machinery.PathFinder.find_spec(name)
        origin = spec.origin if spec is not None else None
        if spec is not None and origin is None and spec.submodule_search_locations:
            return next(iter(spec.submodule_search_locations))
    if not isinstance(origin, str) or not os.path.isfile(origin):
        return None
    return os.path.dirname(origin) if os.path.basename(origin) == "__init__.py" else origin


def _module(name, path):
    files = {}
    _tree(os.path.dirname(path), os.path.basename(path), files)
    label = name + ("/" if os.path.isdir(path) else ".py")
    return {"name": _clip(label), "path": _clip(path), "content": _summary(files)}


def _glance(*work):
    """Look at everything again if what an installer touches first has been touched since."""
    if all(_time(path) == moment for path, moment in list(_WATCHED.items())):
        with _LOCK:
            _STATE.update(thread=None, glanced=time.monotonic())
        return
    with _LOCK:
        # What was seen before no longer holds.
        _STATE.update(result=None, key="")
    _work(*work)


def _work(records, local, wanted, forget):
    # Whoever asked for the reading gets it first.
    time.sleep(0.2)
    begun = time.time()
    answer = {"packages": {}, "modules": [], "conditional": {}, "at": 0.0}
    try:
        _BUDGET[0] = HASH_LIMIT
        _WATCHED.clear()
        conditions = {}
        trees = []
        places = _path()
        for name, path, _, folder, source in records:
            entry, shadow = {}, None
            try:
                _conditions(path, conditions)
                if (source or {}).get("kind") == "editable":
                    trees.append(path)
                    files = _of_editable(name, path, folder, source.get("url") or "")
                    entry["content"] = _summary(files) if files else None
                    root = next(_roots([(name, path, 0, folder, source)]), "")
                    shadow = _shadow(places, files, os.path.realpath(folder), root and os.path.realpath(root))
                elif os.path.exists(os.path.join(path, "RECORD")):
                    files, missing, edited = _of_record(path, folder)
                    entry["content"] = _summary(files) if files else None
                    if missing:
                        entry["missing"] = [len(missing), *map(_clip, missing[:SHOWN])]
                    if edited:
                        entry["edited"] = [len(edited), *map(_clip, edited[:SHOWN])]
                    shadow = _shadow(places, files, os.path.realpath(folder), "")
                if shadow:
                    files = {}
                    _tree(*shadow, files)
                    entry["content"] = _summary(files)
                    entry["edited"] = [1, _clip(os.path.join(*shadow)) + ", which is imported instead"]
            except OverflowError:
                raise
            except Exception as error:
                entry["error"] = type(error).__name__
            if entry.get("content") or len(entry) > 1 or "error" in entry:
                answer["packages"][name] = entry
        answer["conditional"] = {
            name: sorted(map(_clip, markers))[:20] for name, markers in conditions.items() if "" not in markers
        }
        found = modules() if local else {}
        owned = {os.path.realpath(x) for x in _roots(records)}
        for name, path in sorted(found.items()):
            # The tree of an editable install is that distribution's.
            if not any(path.startswith(root + os.sep) or path == root for root in owned):
                _try(answer["modules"], name, path)
        for name in wanted:
            try:
                path = _find(name)
            except Exception:
                path = None
            if path is not None:
                _try(answer["modules"], name, path)
    except BaseException as error:
        answer["error"] = "too much to look at" if isinstance(error, OverflowError) else type(error).__name__
    if any(stamp is not None and stamp != _time(path) for _, path, stamp, _, _ in records):
        # Something changed within a folder of metadata, which the reading of packages doesn't look into each time.
        forget()
    key = hashlib.blake2b(
        json.dumps(answer, sort_keys=True).encode("utf-8", "surrogateescape"), digest_size=8
    ).hexdigest()
    answer["at"] = begun
    answer["seconds"] = round(time.time() - begun, 3)
    with _LOCK:
        _STATE.update(thread=None, ended=time.monotonic(), glanced=time.monotonic(), result=answer, key=key)


def _time(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _roots(records):
    from urllib.parse import unquote, urlsplit

    for _, _, _, _, source in records:
        if (source or {}).get("kind") == "editable" and (source.get("url") or "").startswith("file://"):
            yield unquote(urlsplit(source["url"]).path)


def _try(found, name, path):
    try:
        found.append(_module(name, path))
    except Exception:
        found.append({"name": _clip(name) + ".py", "path": _clip(path), "content": None})


def look(records, installed_key, local, wanted, forget):
    """Begin to look at the files where that is due, and return the key of the last result or ``""``.

    Parameters
    ----------
    records
        A callable that returns ``[(name, path of its metadata, its time when it was read, folder that it lies in,
        source)]``.
    installed_key
        What they were read as: another key makes the last result worthless at once.
    local
        Whether code beside the program, which no distribution brought, is looked at too.
    wanted
        Names of modules that another process has of that kind.
    forget
        Called, in the thread, when what was read as `records` may no longer be so.

    """
    try:
        asked = (installed_key, bool(local), tuple(sorted({str(name) for name in wanted}))[:500])
        with _LOCK:
            if _STATE["asked"] != asked:
                _STATE.update(result=None, key="", ended=0.0)
            due = time.monotonic() - _STATE["ended"] > FRESH_SECONDS or not _STATE["ended"]
            # What was imported since may be code beside the notebook; what is known of the rest still holds.
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


def result():
    """Return the last result as JSON, or ``null`` where there is none yet."""
    try:
        with _LOCK:
            return json.dumps(_STATE["result"])
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
