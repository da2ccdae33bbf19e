"""What a sync does in the processes of a cluster: nannies that start their workers in a layer, workers, the scheduler.

Evaluated once with ``exec(text, {"__name__": key})``; ``enter`` puts it into ``sys.modules`` under `key`, so that later
requests are short. ``ask(verb, arguments)`` returns a JSON object ``{"ok": value}`` or ``{"error": reason}``. Verbs are the
functions of `VERBS`; which process they are for is said there. ``plugin(layers)`` returns the nanny plugin that points a nanny to its layer.

Rules: Python 3.8, standard library only until Dask's own module of the process is needed, never raises.
"""

import base64
import hashlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import types

MARKER = "coiled-jupyter-layer.json"
LINES = 500
CHUNK = 4 * 1024 * 1024
# What every nanny of this process shares: what it was before it was pointed, and what it is pointed to.
STATE = {"path": None, "executable": None, "pointed": None, "reason": "", "environ": {}, "appended": []}
JOBS = {}


# ---- places ----------------------------------------------------------------------------------------------------------


def _host():
    return os.uname()[1] if hasattr(os, "uname") else socket.gethostname()


def _key():
    return _host() + "\0" + sys.prefix


def _libc():
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        text = ""
    if text.startswith("glibc "):
        return text
    return "musl" if sys.platform.startswith("linux") else ""


def _own(folder):
    """Make a folder that is only this user's, and return whether it is."""
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        if not os.path.isdir(folder):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
        if hasattr(os, "getuid") and found.st_uid != os.getuid():
            return False
        os.chmod(folder, 0o700)
        probe = os.path.join(folder, ".%d.probe" % os.getpid())
        with open(probe, "w"):
            pass
        os.unlink(probe)
        return not os.path.islink(folder)
    except OSError:
        return False


def _home():
    """Return the folder of this user's layers, or None."""
    import tempfile

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    user = os.getuid() if hasattr(os, "getuid") else 0
    for folder in (
        os.path.join(cache, "coiled-jupyter", "layers"),
        os.path.join(tempfile.gettempdir(), "coiled-jupyter-layers-%d" % user),
    ):
        if os.path.isabs(folder) and _own(folder):
            return folder
    return None


def _layers(home):
    found = {}
    try:
        for entry in os.scandir(home):
            try:
                with open(os.path.join(entry.path, MARKER), encoding="utf-8") as stream:
                    found[entry.name] = int(json.load(stream).get("size") or 0)
            except (OSError, ValueError, AttributeError):
                continue
    except OSError:
        pass
    return found


def _machine():
    import platform

    return platform.machine()


def process():
    """Any process: where it runs and from what."""
    return {"host": _host(), "pid": os.getpid(), "key": _key(), "pointed": STATE["pointed"], "reason": STATE["reason"]}


def place():
    """A nanny: the facts of its place."""
    home = _home()
    folder = os.path.dirname(sys.executable)
    name = "uv.exe" if os.name == "nt" else "uv"
    beside = os.path.join(folder, name)
    uv = beside if os.access(beside, os.X_OK) else shutil.which("uv")
    if uv is None and home is not None:
        sent = os.path.join(home, "bin", name)
        uv = sent if os.access(sent, os.X_OK) else None
    return {
        "key": _key(),
        "host": _host(),
        "prefix": sys.prefix,
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": sys.implementation.name,
        "platform": sys.platform,
        "machine": _machine(),
        "libc": _libc(),
        "executable": sys.executable,
        "uv": uv,
        "pip": _has_pip(),
        "home": home,
        "free": shutil.disk_usage(home).free if home else None,
        "layers": _layers(home) if home else {},
        "layer": STATE["pointed"],
    }


def _has_pip():
    import importlib.util

    return importlib.util.find_spec("pip") is not None


# ---- pointing --------------------------------------------------------------------------------------------------------


def _holds_distributions(folder):
    try:
        with os.scandir(folder or os.curdir) as entries:
            return any(e.name.endswith((".dist-info", ".egg-info", ".egg-link")) for e in entries)
    except OSError:
        return False


def _added(folder):
    """Return the folders that the ``.pth`` files of a folder of packages add."""
    found = set()
    try:
        for entry in os.scandir(folder):
            if entry.name.endswith(".pth"):
                with open(entry.path, encoding="utf-8", errors="replace") as stream:
                    for line in stream:
                        line = line.strip()
                        if line and not line.startswith(("#", "import ", "import\t")):
                            found.add(os.path.abspath(os.path.join(folder, line)))
    except OSError:
        pass
    return found


def _is_base(entries):
    """Return which entries of sys.path belong to the base environment's packages."""
    import site
    import sysconfig

    standard = {os.path.abspath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    known = set()
    try:
        known.update(os.path.abspath(folder) for folder in site.getsitepackages())
        known.add(os.path.abspath(site.getusersitepackages()))
    except Exception:
        pass
    known.update(os.path.abspath(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
    for folder in list(known):
        known |= _added(folder)
    return [
        os.path.abspath(entry or os.curdir) not in standard
        and (os.path.abspath(entry or os.curdir) in known or _holds_distributions(entry))
        for entry in entries
    ]


def _restore(nanny=None):
    import multiprocessing.spawn

    if STATE["path"] is not None:
        sys.path[:] = STATE["path"]
        multiprocessing.spawn.set_executable(STATE["executable"])
        importlib.invalidate_caches()
    STATE["path"] = STATE["executable"] = STATE["pointed"] = None
    if nanny is not None:
        for name, value in STATE["environ"].pop(id(nanny), {}).items():
            if value is None:
                nanny.env.pop(name, None)
            else:
                nanny.env[name] = value


def _point(layers, nanny):
    """Let the workers of a nanny start in the layer of its place, or in the base where there is none."""
    import multiprocessing.spawn

    _restore(nanny)
    wish = layers.get(_key())
    if wish is None:
        STATE["reason"] = "no layer was made for this place"
        return
    if not os.path.exists(os.path.join(wish["path"], MARKER)) or not os.path.exists(wish["executable"]):
        STATE["reason"] = "the folder of its layer isn't there"
        return
    STATE["path"] = list(sys.path)
    STATE["executable"] = os.fsdecode(multiprocessing.spawn.get_executable())
    base = _is_base(sys.path)
    position = base.index(True) if True in base else len(base)
    kept = [entry for index, entry in enumerate(sys.path) if not base[index]]
    before = sum(not own for own in base[:position])
    sys.path[:] = kept[:before] + [e for e in wish["entries"] if e not in kept] + kept[before:]
    multiprocessing.spawn.set_executable(wish["executable"])
    importlib.invalidate_caches()
    if nanny is not None:
        folders = [e for e in os.environ.get("PYTHONPATH", "").split(os.pathsep) if e]
        of_base = _is_base(folders)
        clean = [entry for index, entry in enumerate(folders) if not of_base[index]]
        wanted = {
            "PATH": os.pathsep.join([os.path.dirname(wish["executable"]), os.environ.get("PATH", os.defpath)]),
            "VIRTUAL_ENV": wish["path"],
        }
        if folders:
            wanted["PYTHONPATH"] = os.pathsep.join(clean)
        STATE["environ"][id(nanny)] = {name: nanny.env.get(name) for name in wanted}
        nanny.env.update(wanted)
    STATE["pointed"], STATE["reason"] = wish["id"], ""


def plugin(layers):
    """Return the plugin that Dask sets up in every nanny, also in those that come later."""
    from distributed.diagnostics.plugin import NannyPlugin

    def setup(self, nanny):
        try:
            _point(layers, nanny)
        except BaseException as error:
            STATE["reason"] = type(error).__name__

    def teardown(self, nanny):
        try:
            _restore(nanny)
        except BaseException as error:
            STATE["reason"] = type(error).__name__

    body = {"setup": setup, "teardown": teardown, "name": "coiled-jupyter-layer", "restart": False}
    return type("CoiledJupyterLayer", (NannyPlugin,), body)()


# ---- workers and scheduler -------------------------------------------------------------------------------------------


def _instances(module, name):
    loaded = sys.modules.get(module)
    return list(getattr(loaded, name)._instances) if loaded is not None else []


def executing():
    """A worker: how many of its tasks run."""
    count = 0
    for worker in _instances("distributed.worker", "Worker"):
        state = worker.state
        count += len(state.executing) + len(getattr(state, "long_running", ()))
    return count


def go_on():
    """A worker: take tasks again after a retirement that was given up."""
    from distributed.core import Status

    for worker in _instances("distributed.worker", "Worker"):
        if worker.status == Status.closing_gracefully:
            worker.status = Status.running
    return True


def _scheduler(identity):
    for scheduler in _instances("distributed.scheduler", "Scheduler"):
        if scheduler.id == identity:
            return scheduler
    raise LookupError("no such scheduler")


def held(identity):
    """The scheduler: by worker ``[bytes alone, results, scattered, running, actors]`` that lie nowhere else."""
    found = {}
    for address, worker in list(_scheduler(identity).workers.items()):
        alone = results = scattered = 0
        for task in worker.has_what:
            if len(task.who_has or ()) == 1:
                alone += max(task.nbytes, 0)
                if task.run_spec is None:
                    scattered += 1
                elif task.who_wants or task.waiters:
                    results += 1
        running = len(worker.executing) + len(getattr(worker, "long_running", ()))
        found[address] = [alone, results, scattered, running, len(worker.actors)]
    return found


def wants_idempotent():
    """The scheduler: whether it wants to be told what to do with a plugin that is there already."""
    import inspect

    kind = type(_instances("distributed.scheduler", "Scheduler")[0])
    return "idempotent" in inspect.signature(kind.register_nanny_plugin).parameters


def stop_retiring(identity, addresses):
    """The scheduler: give up what `retire_workers` still tries for these."""
    extension = _scheduler(identity).extensions.get("amm")
    for policy in list(getattr(extension, "policies", ())):
        if type(policy).__name__ == "RetireWorker" and policy.address in addresses:
            extension.policies.discard(policy)
    return True


def extend(entries):
    """The scheduler: be able to import what it lacks from these folders; an empty list takes it back."""
    for entry in STATE["appended"]:
        if entry in sys.path:
            sys.path.remove(entry)
    STATE["appended"] = [entry for entry in entries if entry not in sys.path and os.path.isdir(entry)]
    sys.path.extend(STATE["appended"])
    importlib.invalidate_caches()
    return STATE["appended"]


# ---- jobs of a nanny -------------------------------------------------------------------------------------------------


class _Job:
    """One run of the text ``build`` in a process of its own; it ends with everything it started when its stdin does."""

    def __init__(self, program, request):
        self.lines, self.count, self.told = [], 0, {"state": "starting"}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.process.stdin.write(json.dumps(request).encode("utf-8") + b"\n")
        self.process.stdin.flush()
        self.thread = threading.Thread(target=self._listen, name="coiled-jupyter job", daemon=True)
        self.thread.start()

    def _listen(self):
        try:
            for raw in self.process.stdout:
                try:
                    said = json.loads(raw.decode("utf-8", "replace"))
                except ValueError:
                    continue
                if "line" in said:
                    self.lines.append(str(said["line"])[:2000])
                    del self.lines[:-LINES]
                    self.count += 1
                else:
                    self.told = said
        finally:
            self.process.stdout.close()
            self.process.wait()
            if self.told.get("state") not in ("done", "failed"):
                self.told = {"state": "failed", "reason": "The installer was ended before it was done"}

    def stop(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass


def start(name, program, request):
    """A nanny: start building a layer."""
    home = _home()
    if home is None:
        raise RuntimeError("no folder for layers")
    JOBS[name] = _Job(program, dict(request, home=home))
    for old in list(JOBS)[:-20]:
        if not JOBS[old].thread.is_alive():
            del JOBS[old]
    return True


def poll(name, after):
    """A nanny: the state of a job, and what it said after the `after`-th line."""
    job = JOBS[name]
    alive = job.thread.is_alive()
    told = dict(job.told)
    if alive and told.get("state") in ("done", "failed"):
        told = {"state": "checking"}
    new = max(job.count - after, 0)
    return {"told": told, "lines": job.lines[-new:] if new else [], "next": job.count}


def stop(name):
    """A nanny: end a job with everything it started, and wait a moment for that."""
    job = JOBS.get(name)
    if job is not None:
        job.stop()
    return True


def put(name, offset, data, digest):
    """A nanny: take a part of a file; with a digest it is the last one, and the path is returned if it is whole."""
    home = _home()
    if home is None or os.path.basename(name) != name or name.startswith("."):
        raise RuntimeError("no folder, or no name of a file")
    executable = name in ("uv", "uv.exe")
    folder = os.path.join(home, "bin" if executable else os.path.join("wheels", digest[:16] or "part"))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    part = os.path.join(home, ".%s.part" % name)
    with open(part, "r+b" if offset else "wb") as stream:
        stream.seek(offset)
        stream.write(base64.b64decode(data))
    if not digest:
        return ""
    with open(part, "rb") as stream:
        seen = hashlib.sha256(stream.read()).hexdigest()
    if seen != digest:
        raise RuntimeError("the file did not arrive whole")
    target = os.path.join(folder, name)
    os.chmod(part, 0o700 if executable else 0o600)
    os.replace(part, target)
    return target


def remove(layer):
    """A nanny: remove a layer that it isn't pointed to."""
    home = _home()
    if home is None or os.path.basename(layer) != layer or layer.startswith(".") or layer == STATE["pointed"]:
        raise RuntimeError("in use, or no layer")
    folder = os.path.join(home, layer)
    if os.path.exists(os.path.join(folder, MARKER)):
        # Without its marker nobody takes what is left for a layer.
        os.unlink(os.path.join(folder, MARKER))
    shutil.rmtree(folder, ignore_errors=True)
    for rest in (".txt", ".lock"):
        try:
            os.unlink(folder + rest)
        except OSError:
            pass
    return not os.path.exists(folder)


VERBS = {
    verb.__name__: verb
    for verb in (
        process,
        place,
        executing,
        go_on,
        held,
        wants_idempotent,
        stop_retiring,
        extend,
        start,
        poll,
        stop,
        put,
        remove,
    )
}


def ask(verb, arguments):
    """Return the JSON of what a verb answers."""
    try:
        return json.dumps({"ok": VERBS[verb](*json.loads(arguments))})
    except BaseException as error:
        return json.dumps({"error": "%s: %s" % (type(error).__name__, str(error)[:200])})


def enter(key):
    """Enter this text in ``sys.modules``, once for the process."""
    module = types.ModuleType(key)
    module.ask, module.plugin, module.begun = ask, plugin, time.time()
    sys.modules.setdefault(key, module)
