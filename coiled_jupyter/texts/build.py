"""Builds one layer on a node and checks it; run as a program by the Python of the base environment.

Its first line of stdin is a JSON object: ``id``, ``home``, ``lock`` (requirements with hashes), ``uv`` (path or null: pip),
``expected`` (name → version), ``imports`` (distributions), ``environ`` (of the installer), ``options`` (of the installer,
no secrets), ``links`` (a folder of wheels or null). It prints a JSON object a line: ``{"state": …}`` of which the last is ``done`` with ``path``,
``executable``, ``entries``, ``size``, or ``failed`` with ``reason``; and ``{"line": …}`` of what the installer said. When stdin ends it ends with
everything that it started; what it leaves behind is never taken for complete, since the marker is written last.

Rules: Python 3.8, standard library only.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

MARKER = "coiled-jupyter-layer.json"
CHECK_SECONDS = 180
SECRET = re.compile(r"//[^/@\s]*@")
COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CLEARED = ("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "CONDA")
CHILD = []

CHECK = r"""
import importlib, importlib.metadata, json, os, re, sys, sysconfig
asked = json.load(sys.stdin)
wrong = []
def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
found, tops = {}, {}
for dist in importlib.metadata.distributions():
    name = normal(dist.metadata["Name"] or "")
    if name in found:
        wrong.append(name + " is installed twice")
    found[name] = dist.version
    files = dist.files
    if files is None:
        wrong.append(name + " has no list of its files")
        continue
    gone = [str(f) for f in files if not os.path.exists(dist.locate_file(f)) and not str(f).endswith(".pyc")]
    if gone:
        wrong.append("%d files of %s are missing, such as %s" % (len(gone), name, gone[0]))
    top = set()
    for f in files:
        first = f.parts[0]
        if first.endswith((".dist-info", ".data")) or first in ("..", "__pycache__"):
            continue
        if len(f.parts) == 1:
            if first.endswith((".py", ".so", ".pyd")):
                top.add(first.partition(".")[0])
        elif f.parts[1] == "__init__.py" or f.parts[1].startswith("__init__."):
            top.add(first)
    tops[name] = top
expected = asked["expected"]
for name in sorted(set(expected) | set(found)):
    if expected.get(name) != found.get(name):
        wrong.append("%s is %s instead of %s" % (name, found.get(name, "missing"), expected.get(name, "none")))
if not wrong:
    for name in asked["imports"]:
        top = tops.get(name, set())
        own = [m for m in top if normal(m) == name]
        for module in own or sorted(m for m in top if not m.startswith("_") and m not in ("tests", "test", "docs"))[:3]:
            try:
                importlib.import_module(module)
            except BaseException as error:
                wrong.append("%s can't be imported: %s: %s" % (module, type(error).__name__, str(error)[:300]))
standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
entries = [p for p in sys.path if p and p not in standard and not p.endswith((".zip", "lib-dynload"))]
if os.name == "nt":
    entries = [p for p in entries if os.path.normcase(p).startswith(os.path.normcase(sys.prefix)) or os.path.isdir(p)]
print("CHECKED " + json.dumps({"wrong": wrong[:20], "entries": entries, "executable": sys.executable}))
"""


def say(**what):
    """Print one object."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Failed(Exception):
    """The layer can't be made; the text says why."""


def plain(text):
    """Return a line without colours and credentials."""
    return SECRET.sub("//", COLOUR.sub("", text)).strip(" \u00d7\u2570\u2500\u25b6\u2502\r\n")


def end():
    """End with everything that was started."""
    for process in CHILD:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (OSError, AttributeError):
            process.kill()
    os._exit(3)


def watch():
    """End when stdin does."""
    try:
        while sys.stdin.buffer.read(65536):
            pass
    finally:
        end()


def environ(more):
    """Return the variables of the installer."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(CLEARED)}
    if "UV_CACHE_DIR" in os.environ:
        kept["UV_CACHE_DIR"] = os.environ["UV_CACHE_DIR"]
    kept.update({"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "PIP_NO_INPUT": "1"})
    kept.update({"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    kept.update(more)
    return kept


def run(command, more, told=None):
    """Run the installer and pass on what it says; Failed with its last words."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE if told is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ(more),
        start_new_session=True,
    )
    CHILD[:] = [process]
    if told is not None:
        process.stdin.write(told.encode("utf-8"))
        process.stdin.close()
    words, checked = [], None
    for raw in process.stdout:
        line = plain(raw.decode("utf-8", "replace"))
        if line.startswith("CHECKED "):
            checked = json.loads(line[8:])
        elif line:
            words.append(line)
            say(line=line)
    code = process.wait()
    CHILD[:] = []
    if code and checked is None:
        raise Failed(" ".join(words)[-1500:] or "The installer ended with code %d and said nothing" % code)
    return checked


def check(prefix, request, imports):
    """Let the layer's own Python look at it; Failed where anything is wrong."""
    python = os.path.join(prefix, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    if not os.path.exists(python):
        raise Failed("It has no Python")
    timer = threading.Timer(CHECK_SECONDS, lambda: [p.kill() for p in CHILD])
    timer.daemon = True
    timer.start()
    try:
        told = json.dumps({"expected": request["expected"], "imports": imports})
        checked = run([python, "-I", "-c", CHECK], {}, told)
    finally:
        timer.cancel()
    if checked is None:
        raise Failed("Its Python gave no answer")
    if checked["wrong"]:
        raise Failed("; ".join(checked["wrong"][:5]))
    return checked


def size_of(folder):
    """Return the bytes of a folder."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                pass
    return total


def locked(path):
    """Hold a lock until this process ends, so that two never build one layer at once."""
    try:
        import fcntl
    except ImportError:
        return None
    stream = open(path, "w")  # noqa: SIM115 - it is held as long as this process lives
    waiting = False
    while True:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return stream
        except OSError:
            if not waiting:
                say(state="waiting")
                waiting = True
            time.sleep(0.1)


def built(prefix, request):
    """Return what a complete layer says of itself, or None where it isn't there or isn't whole any more."""
    try:
        with open(os.path.join(prefix, MARKER), encoding="utf-8") as stream:
            known = json.load(stream)
        say(state="checking")
        checked = check(prefix, request, [])
    except (OSError, ValueError, Failed):
        return None
    return dict(known, entries=checked["entries"], executable=checked["executable"])


def install(prefix, request):
    """Make the virtualenv and install the lock."""
    lock = prefix + ".txt"
    with open(os.open(lock, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(request["lock"])
    uv = request.get("uv") if os.access(request.get("uv") or "", os.X_OK) else None
    options, more = list(request.get("options") or ()), dict(request.get("environ") or {})
    links = ["--find-links", request["links"]] if request.get("links") else []
    python = os.path.join(prefix, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))
    say(state="creating")
    if uv:
        run([uv, "venv", "--no-config", "--quiet", "--python", sys.executable, "--", prefix], {})
        say(state="installing")
        command = [uv, "pip", "sync", "--no-config", "--require-hashes", "--python", python, *options, *links]
        run([*command, "--", lock], more)
    else:
        run([sys.executable, "-m", "venv", "--without-pip", prefix], {})
        say(state="installing")
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--require-hashes", "--no-deps"]
        run([*command, *options, *links, "-r", lock], more)


def main():
    """Build what the first line of stdin asks for."""
    request = json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    threading.Thread(target=watch, daemon=True).start()
    home, name = request["home"], request["id"]
    if os.path.basename(name) != name or name.startswith("."):
        raise Failed("That isn't the name of a layer")
    prefix = os.path.join(home, name)
    lock = locked(prefix + ".lock")
    known = built(prefix, request)
    if known is None:
        if not request["lock"]:
            raise Failed("The layer isn't there any more, and how it was made isn't known")
        shutil.rmtree(prefix, ignore_errors=True)
        install(prefix, request)
        say(state="checking")
        checked = check(prefix, request, request["imports"])
        known = {"size": size_of(prefix), "entries": checked["entries"], "executable": checked["executable"]}
        staging = os.path.join(prefix, MARKER + ".new")
        with open(staging, "w", encoding="utf-8") as stream:
            json.dump(dict(known, id=name, created=time.time()), stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staging, os.path.join(prefix, MARKER))
    say(state="done", path=prefix, **{key: known[key] for key in ("size", "entries", "executable")})
    if lock is not None:
        lock.close()


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(state="failed", reason=str(failure))
    except OSError as failure:
        say(state="failed", reason="%s: %s" % (failure.strerror or "The system refused", failure.filename or ""))
    except BaseException as failure:
        say(state="failed", reason=type(failure).__name__)
    os._exit(0)
