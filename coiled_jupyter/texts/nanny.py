"""Runs in a nanny: describes its host and environment, and runs the jobs that build layers.

Kept in the nanny's process; ``call(verb, …)`` returns one JSON text. The text ``layer_plugin`` is in ``OTHERS``.

A job is the text ``layer`` in a process of its own, which reads its request from stdin; when that closes, because the job was
cancelled or this process is gone, it ends with all processes that it has started. Files come in pieces, stay where a
connection broke off, and can be had only after their whole content was checked.

Rules: Python 3.8, standard library only, never raises, slow work in threads only.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib

OTHERS = {}
MARKER = "coiled-jupyter.json"
LINES = 500
JOBS = 20
FINAL = ("done", "failed", "cancelled")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,199}\Z")
KEPT_SECONDS = 14 * 86400
_JOBS = {}
_CHECKS = {}
_MUTEX = threading.Lock()


def _plugin():
    return OTHERS["layer_plugin"]


def homes():
    """Return the folders in which layers may be built, best first."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    shared = os.path.join(tempfile.gettempdir(), "coiled-jupyter-layers-%d" % os.getuid())
    return [os.path.join(cache, "coiled-jupyter", "layers"), shared]


def _usable(folder):
    """Return whether a folder belongs to this user and is writable, or could be created so."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        above = os.path.dirname(folder)
        while not os.path.lexists(above) and above != os.path.dirname(above):
            above = os.path.dirname(above)
        return os.path.isabs(folder) and os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and os.access(folder, os.W_OK | os.X_OK)


def home(make=False):
    """Return the first usable folder, or None."""
    for folder in homes():
        if not _usable(folder):
            continue
        if make:
            try:
                os.makedirs(folder, 0o700, exist_ok=True)
                os.chmod(folder, 0o700)
            except OSError:
                continue
        return folder
    return None


def _free(folder):
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free


def _layers(folder):
    found = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names[:1000]:
        try:
            with open(os.path.join(folder, name, MARKER), encoding="utf-8") as stream:
                marker = json.loads(stream.read(1 << 22))
            if marker["id"] == name and os.access(marker["executable"], os.X_OK):
                found[name] = int(marker["size"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _executable():
    if os.path.basename(sys.executable or "").startswith(("python", "pypy")):
        return sys.executable
    return os.path.join(sys.prefix, "bin", "python3")


def _uv():
    beside = os.path.join(os.path.dirname(_executable()), "uv")
    for path in (beside, shutil.which("uv")):
        # A version manager's shim may have no program behind it.
        if path and os.access(path, os.X_OK) and os.path.isfile(path) and "/shims/" not in path:
            return path
    return None


def _libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return "musl" if sys.platform == "linux" else ""


def _nannies():
    """Return the states of this process's nannies, by address."""
    found = {}
    for nanny in list(getattr(getattr(sys.modules.get("distributed.nanny"), "Nanny", None), "_instances", ())):
        try:
            found[nanny.address] = nanny.status.name
        except Exception:
            # A nanny that doesn't listen yet has no address.
            continue
    return found


def where():
    """Return where this process runs, and the layer that it uses."""
    known = sys.modules.get(_plugin()["KEY"])
    return {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "prefix": sys.prefix,
        "layer": getattr(known, "layer", None),
        "why": getattr(known, "why", ""),
        "obstacle": _plugin()["obstacle"](),
        "nannies": _nannies(),
    }


def details():
    """Return what building a layer needs to know of the environment and the node."""
    folder = home()
    python = "%d.%d.%d" % sys.version_info[:3]
    if sys.version_info[3] != "final":
        python += {"alpha": "a", "beta": "b", "candidate": "rc"}[sys.version_info[3]] + str(sys.version_info[4])
    return {
        "python": python,
        "implementation": sys.implementation.name,
        "platform": sys.platform,
        "machine": os.uname().machine,
        "libc": _libc(),
        "executable": _executable(),
        "uv": _uv(),
        "pip": any(os.path.isdir(os.path.join(folder, "pip")) for folder in _plugin()["sites"]()),
        "home": folder,
        "free": _free(folder) if folder else None,
        "layers": _layers(folder) if folder else {},
    }


class _Job(threading.Thread):
    """One build: its process, its state and its output."""

    def __init__(self, source, request):
        super().__init__(name="coiled-jupyter layer", daemon=True)
        self.source, self.request = source, request
        self.lines, self.count = [], 0
        self.state = {"state": "waiting"}
        self.process = None
        self.cancelled = False

    def run(self):
        try:
            self.work()
        except BaseException as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self.state = {"state": "failed", "reason": "The build could not be started: %s" % reason}

    def work(self):
        request = json.loads(self.request)
        argv = [request["executable"], "-I", "-c", self.source]
        with _MUTEX:
            if self.cancelled:
                self.state = {"state": "cancelled"}
                return
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=request["home"],
                start_new_session=True,
            )
        try:
            self.process.stdin.write(self.request.encode("utf-8") + b"\n")
            self.process.stdin.flush()
        except OSError:
            pass
        self.request = ""
        for line in self.process.stdout:
            self.receive(line)
        # Until it is waited for, its pid isn't reused for another group.
        try:
            os.killpg(self.process.pid, 9)
        except OSError:
            pass
        code = self.process.wait()
        if self.state["state"] not in FINAL:
            reason = "The build was killed" if code < 0 else "The build ended with code %d" % code
            words = " ".join(self.lines[-5:])
            state = "cancelled" if self.cancelled else "failed"
            self.state = {"state": state, "reason": "%s%s" % (reason, ": " + words if words else "")}

    def receive(self, line):
        try:
            message = json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            return
        if "line" in message:
            self.lines.append(str(message["line"])[:2000])
            self.count += 1
            del self.lines[:-LINES]
        elif "state" in message:
            self.state = message

    def cancel(self):
        with _MUTEX:
            self.cancelled = True
        if self.process is not None:
            try:
                self.process.stdin.close()
            except OSError:
                pass

    def progress(self, after):
        # The state is read first, so that no line before it is missed.
        answer = dict(self.state)
        fresh = min(max(self.count - after, 0), len(self.lines))
        answer["lines"] = self.lines[len(self.lines) - fresh :]
        answer["next"] = self.count
        return answer


def begin(source, request):
    """Start a build, or join a running one of the same layer."""
    request = json.loads(zlib.decompress(base64.b64decode(request)).decode("utf-8"))
    if not _NAME.match(request["id"]):
        return {"error": "No layer can have this name"}
    if request.get("asks"):
        # Only a build makes the folder.
        request["home"] = tempfile.gettempdir()
    else:
        request["home"] = home(make=True)
        if request["home"] is None:
            return {"error": "No folder on this node can be written: " + ", ".join(homes())}
        threading.Thread(target=_prune, args=(request["home"],), daemon=True).start()
    for name in [name for name, job in _JOBS.items() if job.state["state"] in FINAL][:-JOBS]:
        del _JOBS[name]
    job = _JOBS.get(request["id"])
    if job is None or job.state["state"] in FINAL or job.cancelled:
        job = _JOBS[request["id"]] = _Job(
            zlib.decompress(base64.b64decode(source)).decode("utf-8"), json.dumps(request)
        )
        job.start()
    return {}


def poll(name, after):
    """Return the state of a build, and its output since the line `after`."""
    job = _JOBS.get(name)
    return {"error": "This build isn't known here"} if job is None else job.progress(after)


def cancel(name):
    """Cancel a build."""
    job = _JOBS.get(name)
    if job is not None:
        job.cancel()
    return {}


def _prune(top):
    """Remove the files that no build has used for long."""
    files = os.path.join(top, ".files")
    try:
        for digest in os.listdir(files):
            folder = os.path.join(files, digest)
            if time.time() - os.stat(folder).st_mtime > KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        pass


class _Check(threading.Thread):
    """The check of a file that has arrived; `error` says why it can't be used."""

    def __init__(self, part, path, digest, executable):
        super().__init__(name="coiled-jupyter file", daemon=True)
        self.part, self.path, self.digest, self.executable = part, path, digest, executable
        self.error = ""

    def run(self):
        try:
            found = hashlib.sha256()
            with open(self.part, "rb") as stream:
                for piece in iter(lambda: stream.read(1 << 20), b""):
                    found.update(piece)
            if found.hexdigest() != self.digest:
                os.unlink(self.part)
                self.error = "The file arrived damaged"
                return
            os.chmod(self.part, 0o700 if self.executable else 0o600)
            os.replace(self.part, self.path)
        except FileNotFoundError:
            # Another process, on a shared disk, was faster.
            pass
        except BaseException as error:
            self.error = getattr(error, "strerror", None) or type(error).__name__


def put(name, digest, offset, data, size, executable):
    """Store a piece of a file, or none; return its present size, and its path once it is complete and checked."""
    if not _NAME.match(name) or not re.match(r"[0-9a-f]{64}\Z", digest):
        return {"error": "No file can have this name"}
    top = home(make=True)
    if top is None:
        return {"error": "No folder on this node can be written: " + ", ".join(homes())}
    folder = os.path.join(top, ".files", digest)
    path = os.path.join(folder, name)
    part = path + ".part"
    check = _CHECKS.get(path)
    if check is not None and not check.is_alive():
        del _CHECKS[path]
        if check.error:
            return {"error": check.error}
        check = None
    if os.path.exists(path) and os.path.getsize(path) == size:
        os.utime(folder)
        return {"path": path, "have": size}
    if check is None:
        have = os.path.getsize(part) if os.path.exists(part) else 0
        if have > size:
            os.unlink(part)
            have = 0
        if data is None or offset > have:
            if have < size:
                return {"have": have}
        else:
            os.makedirs(folder, 0o700, exist_ok=True)
            # Of two that send the same, neither may shorten what the other has written.
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as stream:
                stream.seek(offset)
                stream.write(data)
            have = max(have, offset + len(data))
        if have < size:
            return {"have": have}
        # In a thread: for a large file it takes seconds.
        check = _CHECKS[path] = _Check(part, path, digest, executable)
        check.start()
    check.join(0.02)
    if not check.is_alive() and not check.error and os.path.exists(path):
        del _CHECKS[path]
        return {"path": path, "have": size}
    return {"have": size}


def _running(prefix):
    """Return whether a visible process of this host was started from a layer."""
    start = prefix.encode("utf-8", "surrogateescape") + b"/"
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as stream:
                    line = stream.read(4096)
                # A resource tracker lives as long as its nanny, and imports nothing of the layer.
                if line.startswith(start) and b"multiprocessing.resource_tracker import" not in line:
                    return True
            except OSError:
                continue
    return False


def remove(name):
    """Remove a layer that isn't in use."""
    import fcntl

    folder = home()
    if not _NAME.match(name) or folder is None:
        return {"error": "There is no such layer"}
    prefix = os.path.join(folder, name)
    if not os.path.isdir(prefix):
        return {"removed": False}
    with open(prefix + ".lock", "a") as building, open(prefix + ".use", "a") as use:
        try:
            fcntl.flock(building, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return {"error": "The layer is in use"}
        if _running(prefix):
            return {"error": "The layer is in use"}
        try:
            os.unlink(os.path.join(prefix, MARKER))
        except FileNotFoundError:
            pass
        aside = prefix + ".removed-%d" % os.getpid()
        # The lock files stay: another process may wait for them.
        os.rename(prefix, aside)
    # In a thread: a large layer takes seconds.
    threading.Thread(target=shutil.rmtree, args=(aside, True), daemon=True).start()
    return {"removed": True}


_VERBS = {
    "where": where,
    "details": details,
    "begin": begin,
    "poll": poll,
    "cancel": cancel,
    "put": put,
    "remove": remove,
}


def call(verb, *arguments):
    """Return the JSON answer of a verb; ``error`` says why there is none."""
    try:
        return json.dumps(_VERBS[verb](*arguments))
    except BaseException as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return json.dumps({"error": "It could not be done on the node: %s" % reason})
