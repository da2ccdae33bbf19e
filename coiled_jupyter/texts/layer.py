"""Builds one layer: a virtualenv beside a base environment; run by the base's Python as ``python -I -c <this text>``.

Reads one line of JSON from stdin: ``id``, ``home``, ``executable`` (of the base), ``uv`` (or null), ``lock``, ``expected``,
``imports``, ``distributed``, ``environ``, ``options``, ``only_binary``, ``wheels``, ``offline``, ``seconds``, ``check`` (the
text). Prints lines of JSON: ``{"line": …}`` for the installer's output, ``{"state": …}`` with ``reason`` and ``unfetched``,
whether the installer could not fetch something, or for ``done`` with ``path``, ``executable``, ``entries`` and ``size`` in
bytes. When stdin closes, it ends with everything that it has started.

With ``asks``, the name of a package, nothing is built: the installer looks that up on the index, and ``done`` comes with
``reached``, which is null where it couldn't be told. ``private`` is whether an index would ask for credentials, which are
not sent for this; ``public`` is ``environ`` without such indexes, or null.

The marker is written last, after the layer's own Python has checked the layer; a folder without a marker is removed by
the next build. A lock, which the installer holds too, lets one process at a time build a layer.

Rules: Python 3.8, standard library only. Credentials exist in the installer's environment only.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import time

MARKER = "coiled-jupyter.json"
_SECRET = re.compile(r"//[^/@\s]*@")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FRAME = " \u00d7\u2570\u2500\u25b6\u2502"
# The only settings of the node that count: where packages come from, and how they are reached.
_KEPT = (
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_CACHE_DIR",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
)
# Those of them that count where everything was sent.
_OFFLINE = ("UV_CACHE_DIR", "UV_LINK_MODE", "PIP_CACHE_DIR")
_UNANSWERED = re.compile(
    r"error sending request|tcp connect error|dns error|tunnel error|timed out|[Cc]ertificate|Failed to read `--find-links`"
    r"|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|Max retries exceeded|SSLError|ProxyError"
)
_REFUSED = re.compile(r"\b(?:401|403|407)\b|Unauthorized|Forbidden")
_NOT_THERE = re.compile(
    r"Failed to (?:fetch|download)|was not found in the package registry|[Tt]here (?:is|are) no versions? of"
    r"|No matching distribution found"
)


class Failed(Exception):
    """The layer can't be built; the message says why, `unfetched` whether the installer could not fetch something."""

    unfetched = False


class Cancelled(Exception):
    """The build was cancelled."""


def say(**what):
    """Print a line for the nanny."""
    try:
        os.write(1, json.dumps(what).encode("utf-8") + b"\n")
    except OSError:
        pass


def unfetched(words):
    """Return whether an installer says that it could not fetch something."""
    # Another content than the locked one was fetched.
    return "ash mismatch" not in words and bool(_UNANSWERED.search(words) or _NOT_THERE.search(words))


class Build:
    """One build."""

    def __init__(self, request):
        self.request = request
        self.home = request["home"]
        self.prefix = os.path.join(self.home, request["id"])
        self.deadline = time.monotonic() + request["seconds"]
        self.child = None
        self.lock = None
        self.refused = False
        self.cancelled = threading.Event()
        self.secrets = self._secrets()

    def _secrets(self):
        found = set()
        for value in self.request["environ"].values():
            for user in re.findall(r"//([^/@\s]+)@", value):
                found.update(part for part in user.split(":") if len(part) > 3)
        return sorted(found, key=len, reverse=True)

    def clean(self, text):
        """Return a line without colours and credentials."""
        text = _SECRET.sub("//", _COLOUR.sub("", text))
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return _CONTROL.sub(" ", text).strip().strip(_FRAME)[:2000]

    def watch(self):
        """End the build when stdin closes."""
        while os.read(0, 4096):
            pass
        self.cancelled.set()
        deadline = time.monotonic() + 2.0
        while self.child is not None:
            os.killpg(0, signal.SIGTERM)
            child = self.child
            if child is not None and time.monotonic() > deadline:
                child.kill()
            time.sleep(0.2)

    def environ(self):
        """Return the environment variables of the installer."""
        dropped = ("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV", "CONDA")
        counts = _OFFLINE if self.request.get("offline") else _KEPT
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped) or k in counts}
        fixed = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1", "PIP_NO_INPUT": "1"}
        fixed["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        return dict(kept, **dict(self.request["environ"], **fixed))

    def run(self, argv, environ, told=""):
        """Run a program to its end; return its code and its lines."""
        if self.cancelled.is_set():
            raise Cancelled
        lines = []
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=self.home,
                pass_fds=[] if self.lock is None else [self.lock.fileno()],
            )
        except OSError as error:
            raise Failed("%s can't be run: %s" % (argv[0], error.strerror)) from None
        self.child = child
        late = threading.Timer(max(self.deadline - time.monotonic(), 0.1), child.kill)
        late.daemon = True
        late.start()
        try:
            try:
                child.stdin.write(told.encode("utf-8"))
                child.stdin.close()
            except OSError:
                pass
            for line in child.stdout:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                if not told:
                    words = self.clean(lines[-1])
                    if words:
                        say(line=words)
            code = child.wait()
        finally:
            late.cancel()
            self.child = None
        if self.cancelled.is_set():
            raise Cancelled
        if time.monotonic() > self.deadline:
            raise Failed("It didn't end within %d s" % self.request["seconds"])
        return code, lines

    def must(self, argv, environ, what):
        """Run a program that has to succeed; raise Failed with its last lines otherwise."""
        code, lines = self.run(argv, environ)
        if code:
            words = " ".join(word for word in map(self.clean, lines) if word)
            if code < 0:
                words = "%s was killed by signal %d. %s" % (os.path.basename(argv[0]), -code, words)
            failed = Failed("%s: %s" % (what, words[-2000:] or "the installer gave no reason"))
            failed.unfetched = unfetched(words)
            raise failed

    def wait(self):
        """Hold the lock of this layer."""
        self.lock = open(self.prefix + ".lock", "a")  # noqa: SIM115 - held until this process and the installer end
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self.cancelled.wait(0.1):
                    raise Cancelled from None
                if time.monotonic() > self.deadline:
                    raise Failed("Another build of this layer is still running") from None

    def marked(self):
        """Return the marker of a complete layer, or None."""
        try:
            with open(os.path.join(self.prefix, MARKER), encoding="utf-8") as stream:
                told = json.load(stream)
            return told if told["id"] == self.request["id"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def check(self, imports):
        """Let the layer's own Python check it; raise Failed with the problems, else return its answer."""
        python = os.path.join(self.prefix, "bin", "python")
        asked = {key: self.request[key] for key in ("expected", "distributed")}
        # This process runs in the base environment.
        asked["base"] = sorted({*site.getsitepackages(), *map(sysconfig.get_path, ("purelib", "platlib"))})
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        told = json.dumps(dict(asked, imports=imports)) + "\n"
        code, lines = self.run([python, "-I", "-c", self.request["check"]], environ, told)
        answers = [line for line in lines if line.startswith("{")]
        try:
            answer = json.loads(answers[-1])
            problems = answer["problems"]
        except (IndexError, ValueError, KeyError):
            last = next((line[10:] for line in reversed(lines) if line.startswith("importing ")), "")
            problems = ["Its Python ended with code %d%s" % (code, " while it imported " + last if last else "")]
        if problems:
            more = " and %d more" % (len(problems) - 5) if len(problems) > 5 else ""
            raise Failed(
                "The new environment failed its check: %s%s" % ("; ".join(map(self.clean, problems[:5])), more)
            )
        return answer

    def make(self):
        """Create the virtualenv, install, check."""
        request, environ = self.request, self.environ()
        base, python = request["executable"], os.path.join(self.prefix, "bin", "python")
        say(state="creating")
        if not request["uv"]:
            code, _ = self.run([base, "-I", "-m", "pip", "--version"], environ)
            if code:
                raise Failed("Neither uv nor pip is on the node, so nothing can be installed there")
        create = (
            [request["uv"], "venv", "--no-config", "--quiet", "--python", base, "--", self.prefix]
            if request["uv"]
            else [base, "-I", "-m", "venv", "--without-pip", self.prefix]
        )
        self.must(create, environ, "The virtualenv could not be created")
        say(state="installing")
        locked = os.path.join(self.prefix, "coiled-jupyter.txt")
        with open(locked, "w", encoding="utf-8") as stream:
            stream.write(request["lock"])
        install = (
            [request["uv"], "pip", "sync", "--no-config", "--require-hashes", "--python", python]
            if request["uv"]
            else [
                base,
                "-I",
                "-m",
                "pip",
                "--python",
                python,
                "install",
                "--no-deps",
                "--require-hashes",
                "--no-compile",
            ]
        )
        install += ["--only-binary", ":all:"] if request["only_binary"] or request["offline"] else []
        if request["offline"]:
            install += ["--no-index", *(["--offline"] if request["uv"] else []), "--find-links", self.together()]
        else:
            install += request["options"]
            for folder in sorted({os.path.dirname(path) for path in request["wheels"]}):
                install += ["--find-links", folder]
        install += ["--", locked] if request["uv"] else ["--requirement", locked]
        self.must(install, environ, "The packages could not be installed")
        shutil.rmtree(os.path.join(self.prefix, ".wheels"), ignore_errors=True)
        say(state="checking")
        return self.check(request["imports"])

    def together(self):
        """Return a folder with all wheels: each was sent to one of its own."""
        folder = os.path.join(self.prefix, ".wheels")
        os.mkdir(folder)
        for path in self.request["wheels"]:
            os.symlink(path, os.path.join(folder, os.path.basename(path)))
        return folder

    def mark(self, answer):
        """Write the marker: from now on the layer is complete."""
        staging = os.path.join(self.prefix, MARKER + ".new")
        told = {
            "id": self.request["id"],
            "executable": answer["executable"],
            "entries": answer["entries"],
            "size": answer["size"],
            "base": self.request["executable"],
            "made_at": time.time(),
        }
        with open(staging, "w", encoding="utf-8") as stream:
            json.dump(told, stream)
            stream.flush()
            os.fsync(stream.fileno())
        if self.cancelled.is_set():
            raise Cancelled
        os.rename(staging, os.path.join(self.prefix, MARKER))

    def clear(self):
        """Remove the folder, unless a process uses it."""
        with open(self.prefix + ".use", "a") as use:
            try:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Failed("The layer is damaged, and workers use it; go back to another state first") from None
            try:
                os.unlink(os.path.join(self.prefix, MARKER))
            except OSError:
                pass
            shutil.rmtree(self.prefix, ignore_errors=True)

    def ask(self):
        """Look a package up on the index, as an installation would; return whether it answers, or None."""
        request = self.request
        reached = self.reached()
        if reached is None and self.refused and request["private"]:
            # The other indexes weren't asked. A proxy that forbids it says the same as an index without credentials.
            if request["public"] is None:
                return True
            request["environ"] = request["public"]
            return self.reached() is not False
        return reached

    def reached(self):
        """Return whether the index answers, or None, and keep whether it refuses to."""
        request, base = self.request, self.request["executable"]
        environ = dict(self.environ(), UV_HTTP_RETRIES="0", UV_HTTP_TIMEOUT="3", UV_HTTP_CONNECT_TIMEOUT="3")
        if request["uv"]:
            argv = [request["uv"], "pip", "compile", "--no-config", "--no-cache", "--no-deps", "--no-header"]
            argv += ["--only-binary", ":all:", "--python", base, *request["options"], "--", "-"]
        else:
            # Without a second attempt it says nothing of the first.
            argv = [base, "-I", "-m", "pip", "index", "versions", "--no-cache-dir", "--retries", "1", "--timeout", "2"]
            argv += [*request["options"], "--", request["asks"]]
        code, lines = self.run(argv, environ, request["asks"] + "\n")
        words = " ".join(lines)
        self.refused = False
        if code == 0 and request["uv"]:
            # It would have failed at the first index without an answer; pip goes on.
            return True
        if _UNANSWERED.search(words):
            return False
        self.refused = bool(_REFUSED.search(words))
        if self.refused:
            return None
        return True if code == (1 if request["uv"] else 0) or "No matching distribution" in words else None

    def work(self):
        """Build the layer, or check that it exists and is complete."""
        say(state="waiting")
        self.wait()
        answer = None
        if self.marked() is not None:
            say(state="checking")
            try:
                answer = self.check([])
            except Failed as error:
                say(line="It is rebuilt: %s" % error)
        if answer is None:
            if not self.request["lock"]:
                raise Failed("The layer no longer exists, and its lock is not known")
            self.clear()
            try:
                answer = self.make()
                self.mark(answer)
            except BaseException:
                self.clear()
                raise
        say(
            state="done",
            path=self.prefix,
            executable=answer["executable"],
            entries=answer["entries"],
            size=answer["size"],
        )


if __name__ == "__main__":
    # It signals its whole group and stays to clean up; programs that it starts don't inherit a handler.
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.umask(0o077)
    _build = None
    try:
        _line = b""
        while not _line.endswith(b"\n"):
            _piece = os.read(0, 1 << 16)
            if not _piece:
                sys.exit(1)
            _line += _piece
        _build = Build(json.loads(_line.decode("utf-8")))
        threading.Thread(target=_build.watch, daemon=True).start()
        if "asks" in _build.request:
            say(state="done", reached=_build.ask())
        else:
            _build.work()
    except Cancelled:
        say(state="cancelled")
    except Failed as _error:
        say(state="failed", reason=str(_error), unfetched=_error.unfetched)
    except OSError as _error:
        say(state="failed", reason="The layer could not be built: %s" % (_error.strerror or type(_error).__name__))
    except Exception as _error:
        say(state="failed", reason="The build failed because of a bug in coiled-jupyter: %s" % type(_error).__name__)
    # Processes that an installer has left behind.
    os.killpg(0, signal.SIGKILL)
