"""Makes the nannies of one process start their next workers in a layer; a NannyPlugin sent by reference.

``plugin(layers)`` returns the plugin; `layers` is JSON, by place (host and prefix of the base environment, joined by a
NUL) ``{"id", "executable", "entries"}``. In the nanny's process, only what new workers inherit is changed: the layer's
entries replace the base's in ``sys.path``, and multiprocessing starts the layer's Python. If the place isn't listed, the
layer is missing, or the process is more than a nanny, nothing is changed and the reason recorded. Nannies may share a
process, which is restored when the last of them goes back.

Rules: Python 3.8, standard library only, never raises.
"""

import json
import os
import site
import stat
import sys
import sysconfig
import types

KEY = "_coiled_jupyter_layer"
MARKER = "coiled-jupyter.json"
_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV")


def place():
    """Return the key of the environment from which this process was started."""
    return os.uname().nodename + "\0" + sys.prefix


def state():
    """Return what was changed in this process, kept outside of this text so that another version can undo it."""
    known = sys.modules.get(KEY)
    if known is None:
        known = types.ModuleType(KEY)
        known.layer = known.path = known.swapped = known.executable = known.lock = None
        known.why = ""
        known.nannies = {}
        known = sys.modules.setdefault(KEY, known)
    return known


def obstacle():
    """Return why the nannies of this process can't use a layer, or an empty text."""

    def instances(module, name):
        return list(getattr(getattr(sys.modules.get(module), name, None), "_instances", ()))

    if os.name != "posix":
        return "Workers on Windows can't be moved to another environment"
    if instances("distributed.scheduler", "Scheduler"):
        return "Its process is the scheduler's too, so it can't be moved to another environment"
    clients = [c for c in instances("distributed.client", "Client") if getattr(c, "status", "") == "running"]
    if clients or "ipykernel" in sys.modules:
        return (
            "Its process is more than a nanny, such as a notebook's kernel, so it can't be moved to another environment"
        )
    try:
        import dask

        method = dask.config.get("distributed.worker.multiprocessing-method", "spawn")
    except Exception:
        method = "spawn"
    if method != "spawn":
        return "It starts workers by %s; only workers that are spawned can be moved to another environment" % method
    if os.environ.get("PYTHONHOME"):
        return "PYTHONHOME is set where it runs, so another environment's Python can't be started"
    return ""


def sites():
    """Return the folders of this process's own environment that contain installed packages."""
    found = []
    for ask in (
        site.getsitepackages,
        lambda: [site.getusersitepackages()],
        lambda: [sysconfig.get_path(name) for name in ("purelib", "platlib")],
    ):
        try:
            found += [folder for folder in ask() if folder]
        except Exception:
            continue
    return list(dict.fromkeys(found))


def _normal(path):
    return os.path.realpath(os.path.abspath(path))


def _opener(path, flags):
    """Open a regular file only: a pipe would wait for somebody to write, and a device may never end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def _added(folders):
    """Return what the ``.pth`` files of these folders add to sys.path."""
    found = set()
    for folder in folders:
        try:
            names = [name for name in os.listdir(folder) if name.endswith(".pth")]
        except OSError:
            continue
        for name in names:
            try:
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace", opener=_opener) as stream:
                    lines = stream.read(1 << 20).splitlines()
            except OSError:
                continue
            for line in lines:
                line = line.strip()
                if line and not line.startswith(("#", "import ", "import\t")):
                    found.add(_normal(os.path.join(folder, line)))
    return found


def _has_distributions(folder):
    try:
        return any(name.endswith(("-info", ".egg-link")) for name in os.listdir(folder or os.curdir))
    except (OSError, ValueError):
        return False


def swapped(path, entries):
    """Return `path` with a layer's entries in place of the environment's own.

    A folder with installed packages, such as one on PYTHONPATH, is replaced too: it would shadow the layer's.
    """
    own = {_normal(folder) for folder in sites()}
    added = _added(sites())
    kept, position = [], None
    for entry in path:
        normal = _normal(entry)
        if normal in own and position is None:
            position = len(kept)
        if entry.startswith("__editable__") or entry.endswith(".egg"):
            continue
        if normal not in own and normal not in added and not _has_distributions(entry):
            kept.append(entry)
    position = len(kept) if position is None else position
    return [*kept[:position], *entries, *kept[position:]]


def _hold(layer):
    """Acquire a layer's lock, which marks it as in use on this host; return its descriptor, or None."""
    import fcntl

    prefix = os.path.dirname(os.path.dirname(layer["executable"]))
    held = None
    try:
        with open(os.path.join(prefix, MARKER), encoding="utf-8") as stream:
            if json.load(stream).get("id") != layer["id"]:
                return None
        held = os.open(prefix + ".use", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.access(layer["executable"], os.X_OK) and all(os.path.isdir(entry) for entry in layer["entries"]):
            return held
    except (OSError, ValueError, AttributeError):
        pass
    if held is not None:
        os.close(held)
    return None


def _restore(known):
    """Restore the process's own environment."""
    import multiprocessing.spawn

    if known.layer is None:
        return
    new = [entry for entry in sys.path if entry not in known.swapped and entry not in known.path]
    # Entries that were put in front since then stay there.
    sys.path[:] = [*new, *known.path]
    multiprocessing.spawn.set_executable(known.executable)
    os.close(known.lock)
    known.layer = known.path = known.swapped = known.executable = known.lock = None


def _swap(known, layer, lock):
    import multiprocessing.spawn

    known.path = list(sys.path)
    known.swapped = swapped(known.path, layer["entries"])
    known.executable = multiprocessing.spawn.get_executable()
    known.layer, known.lock = layer["id"], lock
    multiprocessing.spawn.set_executable(layer["executable"])
    sys.path[:] = known.swapped


def _variables(nanny, layer):
    """Return the environment variables by which a worker's child processes find the layer."""
    folder = os.path.dirname(layer["executable"])
    folders = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    path = nanny.env.get("PATH", os.environ.get("PATH", os.defpath))
    return {
        "PATH": folder + os.pathsep + path,
        "PYTHONPATH": os.pathsep.join(entry for entry in folders if not _has_distributions(entry)),
        "VIRTUAL_ENV": os.path.dirname(folder),
    }


def _leave(known, nanny):
    saved = known.nannies.pop(id(nanny), None)
    if saved is not None:
        for name, value in saved.items():
            if value is None:
                nanny.env.pop(name, None)
            else:
                nanny.env[name] = value


def use_layer(nanny, layers):
    """Have a nanny use the layer of its place, or the base if there is none."""
    known = state()
    _leave(known, nanny)
    layer = layers.get(place())
    known.why = obstacle()
    if not known.why and layer is None:
        known.why = "No environment was built for this place"
    lock = None if known.why else _hold(layer)
    if lock is None:
        known.why = known.why or "The environment doesn't exist on this node"
        if not known.nannies:
            _restore(known)
        return
    if known.layer == layer["id"]:
        os.close(lock)
    else:
        _restore(known)
        _swap(known, layer, lock)
    known.nannies[id(nanny)] = {name: nanny.env.get(name) for name in _VARIABLES}
    nanny.env.update(_variables(nanny, layer))


def use_base(nanny):
    """Have a nanny use its own environment."""
    known = state()
    _leave(known, nanny)
    if not known.nannies:
        _restore(known)
    known.why = ""


def plugin(layers):
    """Return the plugin for every nanny; new nannies set it up before their first worker starts."""
    from distributed.diagnostics.plugin import NannyPlugin

    def setup(self, nanny):
        try:
            use_layer(nanny, json.loads(layers))
        except BaseException as error:
            state().why = "It could not be moved to the environment: " + type(error).__name__

    def teardown(self, nanny):
        try:
            use_base(nanny)
        except BaseException as error:
            state().why = "Its own environment could not be restored: " + type(error).__name__

    name = "coiled-jupyter-layer"
    return type("Layer", (NannyPlugin,), {"setup": setup, "teardown": teardown, "name": name, "restart": False})()
