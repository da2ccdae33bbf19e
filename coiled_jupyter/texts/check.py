"""Checks a layer from inside it: versions, files, imports; run by the layer's own Python as ``python -I -c <this text>``.

Reads JSON from stdin: ``expected`` {name: version}, ``imports`` [distribution or module], ``distributed`` (a version, or an
empty text), ``base`` (the folders of the base environment's packages). Prints one JSON line: ``problems`` (sentences),
``entries`` (of sys.path, the layer's own), ``executable``, ``prefix``, ``size`` in bytes. A line ``importing NAME`` comes
before each import, since an import may end the process; a fork checks the files meanwhile.

Rules: Python 3.8, standard library only.
"""

import json
import os
import re
import sys
import sysconfig

SHOWN = 5


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(text):
    """Return a version in a form in which versions that PEP 440 calls equal are equal, as far as releases and zeros go."""
    public, _, local = text.lower().lstrip("v").partition("+")
    parts = re.split(r"([0-9]+)", public)
    parts = [str(int(part)) if part.isdigit() else part.replace("-", ".").replace("_", ".") for part in parts]
    return re.sub(r"(\.0)+(?=$|[^0-9.]|\.(?=[a-z]))", "", "".join(parts)), local


def _named(distribution):
    """Return the name and the version of a distribution, from the header of its metadata; the text below may be long."""
    from email.parser import HeaderParser

    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
    if not text:
        return distribution.metadata["Name"], distribution.version
    head = HeaderParser().parsestr(text.partition("\n\n")[0])
    return head["Name"], head["Version"]


def _files(folder, present):
    """Return the paths of RECORD that don't exist, or None if there is no RECORD; those in `present` are known to exist."""
    import csv

    try:
        with open(os.path.join(folder, "RECORD"), encoding="utf-8", newline="") as stream:
            paths = [row[0] for row in csv.reader(stream) if row]
    except (OSError, UnicodeError, csv.Error):
        return None
    base = os.path.dirname(folder) + os.sep
    rest = [path for path in paths if base + path not in present and not path.endswith(".pyc")]
    return [path for path in rest if not os.path.lexists(os.path.join(base, path))]


def _tops(distribution):
    """Return the modules by which a distribution is imported."""
    name = _normal(distribution.metadata["Name"]).replace("-", "_")
    tops = set()
    for path in distribution.files or ():
        parts = path.parts
        head = parts[0]
        if head.endswith((".dist-info", ".egg-info", ".data", ".pth")) or head in ("..", "__pycache__"):
            continue
        if len(parts) > 1 and parts[-1].split(".")[0] == "__init__" and len(parts) == 2:
            tops.add(head)
        elif len(parts) == 1 and head.endswith((".py", ".so")):
            tops.add(head.split(".")[0])
    same = [top for top in tops if top.lower() == name]
    return same or sorted(
        top for top in tops if not top.startswith("_") and top not in ("test", "tests", "docs", "examples")
    )


def _take(path, own, base):
    """Write the bytecode of a source file that has none: the base environment's, if its source has the same bytes."""
    from importlib.util import MAGIC_NUMBER, cache_from_source

    cached = cache_from_source(path)
    root = next((folder for folder in own if path.startswith(folder + os.sep)), None)
    if root is None or os.path.lexists(cached):
        return
    for folder in base:
        source = os.path.join(folder, os.path.relpath(path, root))
        try:
            with open(cache_from_source(source), "rb") as stream:
                code = stream.read()
            known, here = os.stat(source), os.stat(path)
            size = (here.st_size & 0xFFFFFFFF).to_bytes(4, "little")
            # What Python checks: the kind of bytecode, and the time and size of its source.
            if code[:16] != MAGIC_NUMBER + bytes(4) + (int(known.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + size:
                continue
            with open(source, "rb") as one, open(path, "rb") as other:
                if one.read() != other.read():
                    continue
            os.makedirs(os.path.dirname(cached), exist_ok=True)
            staging = "%s.%d" % (cached, os.getpid())
            with open(staging, "wb") as stream:
                stream.write(code[:8] + (int(here.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + size + code[16:])
            os.replace(staging, cached)
            return
        except OSError:
            continue


def _reuse(base):
    """Let imports take bytecode from the base environment: compiling is most of the time of a first import."""
    from importlib import machinery

    own = {sysconfig.get_path(name) for name in ("purelib", "platlib")}

    class Loader(machinery.SourceFileLoader):
        def get_code(self, fullname):
            _take(self.path, own, base)
            return super().get_code(fullname)

    sys.path_hooks.insert(
        0,
        machinery.FileFinder.path_hook(
            (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
            (Loader, machinery.SOURCE_SUFFIXES),
            (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
        ),
    )
    sys.path_importer_cache.clear()


def _entries():
    paths = sysconfig.get_paths()
    own = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")}
    own |= {os.path.join(folder, "lib-dynload") for folder in list(own)}
    # A zip of the standard library, which usually doesn't exist.
    return [p for p in sys.path if p and os.path.realpath(p) not in own and not p.endswith(".zip")]


def _walk(folder):
    """Return the paths of all files in a folder, and their total size."""
    present, total, folders = set(), 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        present.add(entry.path)
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return present, total


def _beside(act):
    """Run something in a fork, and return a function that waits for its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(writing, "w") as told:
                json.dump(act(), told)
        finally:
            os._exit(0)
    os.close(writing)

    def result():
        with os.fdopen(reading) as told:
            return json.loads(told.read())

    return result


def _differences(expected, versions):
    for name, version in sorted(expected.items()):
        if name not in versions:
            yield "%s %s is missing" % (name, version)
        elif _version(versions[name]) != _version(version):
            yield "%s is %s, not %s" % (name, versions[name], version)
    for name in sorted(set(versions) - set(expected)) if expected else ():
        yield "%s is installed, but not in the plan" % name


def _look(found):
    """Return what is wrong with the files of distributions, and the total size of all files."""
    problems = []
    present, size = _walk(sys.prefix)
    for name, distribution in sorted(found.items()):
        missing = _files(str(getattr(distribution, "_path", "")), present)
        if missing is None:
            problems.append("%s has no list of its files: its installation was interrupted" % name)
        elif missing:
            problems.append("%d files of %s are missing, such as %s" % (len(missing), name, missing[0]))
    return problems, size


def _import(names, say):
    """Import modules, and return which of them fail and why."""
    import importlib

    problems = []
    for name in dict.fromkeys(names):
        say("importing " + name)
        try:
            importlib.import_module(name)
        except BaseException as error:
            words = " ".join(str(error).split())[:500]
            problems.append("%s can't be imported: %s: %s" % (name, type(error).__name__, words))
    return problems


def check(request, say):
    """Return the problems, and where the layer is."""
    import importlib.metadata as metadata

    problems = []
    found, versions = {}, {}
    for distribution in metadata.distributions():
        name, version = _named(distribution)
        if not name:
            problems.append("A package without a name lies in %s" % getattr(distribution, "_path", "it"))
            continue
        if _normal(name) in found:
            problems.append("%s is installed twice" % name)
        found[_normal(name)], versions[_normal(name)] = distribution, version or ""
    problems += _differences({_normal(name): version for name, version in request["expected"].items()}, versions)
    if request["distributed"] and "distributed" not in found:
        problems.append("distributed is missing, and no worker starts without it")
    wanted = []
    for name in request["imports"]:
        wanted += _tops(found[_normal(name)]) if _normal(name) in found else [name]
    if request["imports"] and request["distributed"]:
        wanted += ["distributed.nanny", "distributed.worker"]
    if wanted and not problems:
        looked = _beside(lambda: _look(found))
        _reuse(request.get("base", ()))
        failed = _import(wanted, say)
        # An incomplete package can't be imported either, which says nothing more. Imports have written bytecode.
        problems, size = looked()[0] or failed, _walk(sys.prefix)[1]
    else:
        broken, size = _look(found)
        problems += broken
    if request["distributed"] and "distributed" in found:
        version = versions["distributed"]
        if _version(version) != _version(request["distributed"]):
            problems.append("distributed is %s, the scheduler's is %s" % (version, request["distributed"]))
    return {
        "problems": problems,
        "entries": _entries(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "size": size,
    }


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    # What a module prints during its import isn't part of the answer.
    os.dup2(2, 1)

    def _say(text):
        out.write(text + "\n")
        out.flush()

    try:
        told = check(json.loads(sys.stdin.readline()), _say)
    except BaseException as error:
        told = {"problems": ["The check failed: %s: %s" % (type(error).__name__, str(error)[:300])]}
    _say(json.dumps(told))
    # Threads of imported modules must not keep this process alive.
    os._exit(0)
