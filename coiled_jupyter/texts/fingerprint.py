"""Returns two short digests that show whether what a process has installed, or has loaded, has changed.

The small part of a reading that every worker does; the text ``probe`` is sent only if a reading is needed. It keeps what
was installed and imported at each change, since a module may not have a version.

Rules: Python 3.8, standard library only, never raises; the only files it reads are small modules outside of any installation.
"""

import base64
import hashlib
import itertools
import os
import stat
import sys
import time

KEPT = 20
# What the folders of sys.path held when they last changed: [their times, what `_listed` returned].
_HELD = [None, None]
# Modules outside of any installation that were read: {path: (its size and time, digest)}.
_READ = {}
SMALL = 65536
FEW = 20
MANY = 200
# [(entries of metadata by folder, imported top-level modules)] at each check that found a change.
HISTORY = []
# {(folder, entry): time} at the first check, of entries that are older than the process.
_FIRST = {}
# {module: what had been installed anew when it was imported}, and the same at the last check.
_MET = {}
_LATER = [""]


def _digest(value):
    seen = hashlib.blake2b(repr(value).encode("utf-8", "surrogateescape"), digest_size=6).digest()
    # Every worker sends two of these; they have to be distinct within one cluster only.
    return base64.b64encode(seen).decode("ascii").rstrip("=")


def _times():
    times = []
    for path in (*sys.path, os.path.join(sys.prefix, "conda-meta"), *_READ):
        try:
            times.append((path, os.stat(path or os.curdir).st_mtime_ns))
        except (OSError, TypeError, ValueError):
            continue
    return times


def _installed():
    # Each stat may lose the interpreter's lock to a task that loops.
    times = _times()
    if _HELD[0] == times:
        return _HELD[1]
    found = _listed()
    # Two changes within one tick of the file system's clock have the same time.
    old = all(time.time_ns() - moment > 2000000000 for _, moment in times)
    _HELD[:] = (times, found) if old and times == _times() else (None, None)
    return found


def forget():
    """Check everything anew the next time."""
    _HELD[:] = None, None


def _listed():
    """Return the entries of metadata by folder, and what else distinguishes where modules come from."""
    folders, others = [], []
    library = os.path.dirname(os.__file__)
    read = dict(_READ)
    _READ.clear()
    for folder in (*sys.path, os.path.join(sys.prefix, "conda-meta")):
        try:
            with os.scandir(folder or os.curdir) as entries:
                marks = sorted(
                    (entry.name, entry.stat().st_mtime_ns)
                    for entry in entries
                    if entry.name.endswith(("-info", ".egg-link", ".pth")) or entry.name[:1] == "~"
                )
            status = os.stat(folder or os.curdir)
            if folder.endswith("conda-meta"):
                marks.append(("", status.st_mtime_ns))
            if marks:
                # Containers may share a host's name and a path, but not the disk.
                others.append((status.st_dev, status.st_ino))
            elif folder not in (library, os.path.join(library, "lib-dynload")):
                others.append(_modules(folder or os.curdir, (status.st_dev, status.st_ino), read))
        except NotADirectoryError:
            others.append((os.path.basename(folder), _time(folder)))
            continue
        except (OSError, TypeError, ValueError, AttributeError):
            continue
        if marks:
            folders.append((str(folder), marks))
    return folders, others


def _modules(folder, identity, read):
    """Return what identifies a folder without metadata: the content of its few modules, or the folder itself.

    Each worker has a folder of its own for files that are uploaded to it; most hold the same, or nothing.
    """
    found = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            name = entry.name
            if number >= MANY:
                return identity
            if name.endswith(".py") and entry.is_file() and len(found) < FEW:
                status = entry.stat()
                if status.st_size > SMALL:
                    return identity
                found.append((name, _content(entry.path, (status.st_size, status.st_mtime_ns), read)))
            elif name.endswith((".py", ".so", ".pyd")) or (entry.is_dir() and _package(entry)):
                return identity
    return sorted(found)


def _opener(path, flags):
    """Open a regular file only: a pipe would wait for somebody to write, and a device may never end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def _content(path, status, read):
    if read.get(path, ("",))[0] != status:
        with open(path, "rb", opener=_opener) as file:
            read[path] = status, _digest(file.read(SMALL + 1))
    _READ[path] = read[path]
    return read[path][1]


def _package(folder, depth=3):
    # Spilled data lies in such a folder too, in thousands of files.
    if not folder.name.isidentifier() or folder.name == "__pycache__":
        return False
    with os.scandir(folder.path) as inside:
        entries = list(itertools.islice(inside, MANY))
    return any(entry.name.endswith(".py") for entry in entries) or (
        depth > 1 and any(entry.is_dir() and _package(entry, depth - 1) for entry in entries)
    )


def _time(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _imported(folders):
    starts = tuple(folder + os.sep for folder, _ in folders)
    found = []
    for name, module in list(sys.modules.items()):
        if not isinstance(name, str) or "." in name:
            continue
        try:
            space = vars(module)
            path, version = space.get("__file__"), space.get("__version__")
        except Exception:
            continue
        if isinstance(path, str) and path.startswith(starts):
            found.append((name, version if isinstance(version, str) else ""))
    return sorted(found)


def _conditions():
    """Return what of this process, besides code, its results depend on, as far as it is cheap to tell."""
    settings = [
        (name, value)
        for name, value in os.environ.items()
        if name == "LANG"
        or name[:3] == "LC_"
        or (name[:5] == "DASK_" and "__" in name and not name.startswith("DASK_DISTRIBUTED__"))
    ]
    return (
        sys.flags.optimize,
        sys.flags.utf8_mode,
        os.environ.get("PYTHONHASHSEED"),
        time.tzname,
        time.timezone,
        sorted(settings),
    )


def _started():
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        boot = int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
        # A forked process has what its parent had imported.
        return min(boot + ticks / os.sysconf("SC_CLK_TCK"), getattr(sys, "_coiled_jupyter_started", float("inf")))
    except Exception:
        return float("inf")


def _met(folders, imported):
    """Return what has been installed anew in this process's time: by now, and as each module was imported.

    Processes that have imported the same modules run the same code only if this is the same too. A module may have been
    imported just after the last check that didn't see it.
    """
    entries = {(folder, name): moment for folder, marks in folders for name, moment in marks}
    if not HISTORY:
        latest = (_started() + 1) * 1e9
        _FIRST.update((entry, moment) for entry, moment in entries.items() if moment <= latest)
    anew = sorted((entry, moment) for entry, moment in entries.items() if _FIRST.get(entry) != moment)
    now = _digest(anew) if anew else ""
    before = _LATER[0] if HISTORY else now and "before " + now
    for name, _ in imported:
        _MET.setdefault(name, before)
    _LATER[0] = now
    return now, [_MET[name] for name, _ in imported]


def outside():
    """Whether a module was imported that lies outside of any installation."""
    inside = tuple({os.path.join(x, "") for x in (sys.prefix, sys.base_prefix, sys.exec_prefix)})
    for name, module in list(sys.modules.items()):
        try:
            path = vars(module).get("__file__")
        except Exception:
            continue
        if isinstance(path, str) and path.endswith(".py") and not path.startswith(inside) and name[:2] != "__":
            return True
    return False


def keys(edited=tuple):
    """Return ``"<installed> <imported>"``, two digests; `edited` is the function of the text ``edits``."""
    try:
        folders, others = _installed()
        imported = _imported(folders)
        met = _met(folders, imported)
        machine = os.uname() if hasattr(os, "uname") else ("", "")
        place = (
            machine[1],
            sys.prefix,
            sys.executable,
            sys.version,
            sys.implementation.name,
            folders,
            others,
            _conditions(),
        )
        if not HISTORY or HISTORY[-1] != (folders, imported):
            HISTORY.append((folders, imported))
            del HISTORY[1:-KEPT]
        seal = sys.modules.get("_coiled_jupyter_seal")
        sealed = sorted(seal.schedulers) if seal is not None else []
        return _digest(place) + " " + _digest((imported, met, edited(), sealed))
    except BaseException as error:
        return "error " + type(error).__name__
