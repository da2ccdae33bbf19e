"""Tells what ``import`` finds at the places where a process looks: a digest of each distribution, and of other code.

``imports(request)`` is a function of those places (the text ``content`` tells them) and of the disk, so that it runs beside
the process and not in it. It returns JSON:

packages
    ``{distribution: {"content", "modules", "missing", "edited", "error"}}``. The content is ``pure:…`` or ``built:…``, a
    digest over what its names lead to, wherever that lies; `modules` are those names that aren't its own, or lie in
    a namespace; `missing` and `edited` are compared with its RECORD, and begin with a number.
modules
    ``[{"name", "path", "content", "error", "used", "files"}]``: ``helpers.py`` or ``helpers/`` of no distribution, whether it
    was imported, and the beginnings of the digests of its files, by name, where these are few.
library, shadows
    The digest of the standard library, and the paths of what would be imported instead of some of it.
unknown
    ``[[what, why]]``: what could not be compared.
conditional
    ``{required distribution: [markers]}``.
requires
    ``{distribution: [[required], [required by an extra]]}``, where local modules are asked for.
watched
    Paths whose time of change shows most changes.

Rules: Python 3.8, standard library only, never raises; a file is known by its content, never by what a record says of it.
"""

import base64
import contextlib
import csv
import hashlib
import importlib.util
import json
import marshal
import os
import re
import stat
import sys
import time
import zipfile
import zipimport

SECONDS = 300.0
"""How long one look may take, unless the request says otherwise."""
FILES, BYTES = 100000, 16 << 30
"""How much may lie below one name."""
FRESH = 2 * 10**9
"""Nanoseconds in which a file may change again without a new time."""
SHOWN = 5
LISTED, LISTED_FILES = 2000, 100
"""Files that are named, of all modules and of one."""
DAY = 86400.0
_INFO = (".dist-info", ".egg-info")
_BINARY = (".so", ".pyd", ".dylib", ".dll", ".a", ".lib")
# What lies beside the code of a project, and may be left out of an image.
_BESIDE = {"tests", "test", "testing", "docs", "doc", "examples", "build", "dist", "node_modules", "benchmarks"}
_NOT_MODULES = {"setup", "conftest", "noxfile", "versioneer", "tasks", "fabfile"}
# Written by whoever builds Python, for one machine.
_OF_BUILD = ("_sysconfigdata", "sitecustomize", "usercustomize")
# Parts of the standard library that nothing imports.
_IDLE = {"ensurepip", "idlelib", "lib2to3", "test", "turtledemo"}
# What an editable install puts into a site folder; it holds paths, and the map shows what they lead to.
_EDITABLE = ("__editable__", "_editable_impl_")
_SEPARATORS = re.compile(r"[-_.]+")


class _Unknown(Exception):
    """Says of one name, and not of all, why it can't be compared."""


class _Folder(dict):
    """A folder in a zip: name -> _Folder or (zip, member)."""

    implied = False


class _Spaces(dict):
    """The namespaces of an editable install: name -> its folders."""


def _clip(text):
    # Names that aren't UTF-8 hold lone surrogates in Python, which no JSON decoder accepts.
    return str(text)[:500].encode("utf-8", "replace").decode("utf-8")


def _sum(lines):
    text = "".join([line + "\n" for line in lines])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _normal(name):
    return _SEPARATORS.sub("-", name).lower()


def imports(request):
    """Return the JSON of what lies at the places of a process.

    The request is JSON: ``places``, and what is optional: ``wanted`` and ``local``, names of modules and whether loaded ones
    are reported; ``names``, whether each name is reported too; ``cache``, the path of a file; ``pace``, seconds of sleep per second of work; ``seconds``; ``parent``, the
    process without which there is nobody to answer.
    """
    return json.dumps(_answered(request))


def told(request):
    """Return what `imports` does as two lines of JSON: ``[watched, key of all the rest]``, and the rest."""
    answer = _answered(request)
    watched = answer.pop("watched", [])
    text = json.dumps(answer, sort_keys=True)
    return json.dumps([watched, hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()]) + "\n" + text


def _answered(request):
    try:
        return _Map(json.loads(request)).answer()
    except BaseException as error:
        return {"error": _clip("%s: %s" % (type(error).__name__, error))}


class _Digests:
    """Digests of files and trees, each file read once for as long as it doesn't change."""

    def __init__(self, facts, asked):
        self.facts = facts
        self.asked = asked
        self.files = self.bytes = 0
        self.hashes = {}
        self._slept = time.perf_counter()
        self._end = self._slept + asked.get("seconds", SECONDS)
        self._fresh, self._used = {}, {}
        self._others = {}
        self._kept = self._load()
        self._conda = None

    def _load(self):
        path = self.asked.get("cache")
        if not path:
            return {}
        kept = _kept(path)
        if kept is not None:
            return kept
        # Of an environment that is new, many files were read in others: those of its Python, and those that an installer
        # has linked. A file is known by what it is on this disk, whichever environment it was read for.
        folder, own = os.path.split(path)
        begin, _, end = own.rsplit("-", 2) if own.count("-") > 1 else (own, "", "")
        alike = [os.path.join(folder, name) for name in _names(folder) if name.rsplit("-", 2)[::2] == [begin, end]]
        for other in sorted(alike, key=_age)[:SHOWN]:
            self._others.update(_kept(other) or {})
        return self._others

    def save(self):
        """Keep the digests for the next look."""
        path = self.asked.get("cache")
        if not path or not (self._fresh or self._others):
            return
        try:
            part = "%s.%d" % (path, os.getpid())
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(part, flags, 0o600), "w") as file:
                file.write(json.dumps(self._used))
            os.replace(part, path)
            # What other releases have kept of this environment.
            folder, own = os.path.split(path)
            for other in _names(folder):
                old = os.path.join(folder, other)
                if (
                    other != own
                    and other.startswith(own.rsplit("-", 1)[0] + "-")
                    and time.time() - os.stat(old).st_mtime > DAY
                ):
                    os.unlink(old)
        except OSError:
            pass

    def tree(self, at, relative, lines, above=(), most=None):
        """Append ``(relative path, digest)`` of a file, or of all files of a folder, also in a zip."""
        most = most or (self.files + FILES, self.bytes + BYTES)
        if isinstance(at, tuple):
            self.files += 1
            lines.append((relative, _recorded(hashlib.sha256(at[0].read(at[1])).digest())))
            return
        if not isinstance(at, dict):
            status = os.stat(at)
            if not stat.S_ISDIR(status.st_mode):
                lines.append((relative, self.file(at, status)))
                if at.endswith(".py"):
                    self._bytecode(os.path.dirname(at), {os.path.basename(at): status}, "", lines)
                return
            above += ((status.st_dev, status.st_ino),)
            if above[-1] in above[:-1]:
                lines.append((relative, "a link to a folder around it"))
                return
        kids, sources = _children(at), {}
        zipped, prefix = isinstance(at, dict), relative + "/" if relative else ""
        for name in sorted(kids):
            kid, inner, code = kids[name], prefix + name, name.endswith(".py")
            if not code and (name == "__pycache__" or (name.endswith((".pyc", ".pyo")) and name[:-1] in kids)):
                continue
            if zipped or kid.is_dir():
                self.tree(_where(kid), inner, lines, above, most)
                continue
            try:
                status = os.stat(kid.path)
            except OSError as error:
                if not kid.is_symlink():
                    raise _Unknown("%s: %s" % (kid.path, error.strerror)) from None
                lines.append((inner, "a link to nothing"))
                continue
            lines.append((inner, self.file(kid.path, status)))
            if code:
                sources[name] = status
            if self.files > most[0] or self.bytes > most[1]:
                raise _Unknown("more than %d files or %d GiB" % (FILES, BYTES >> 30))
        if sources and "__pycache__" in kids:
            self._bytecode(at, sources, relative, lines)

    def file(self, path, status):
        """Return the digest of a regular file."""
        self.files += 1
        if not stat.S_ISREG(status.st_mode):
            raise _Unknown(_no_file(path, status))
        if status.st_size > BYTES:
            raise _Unknown("%s is larger than %d GiB" % (path, BYTES >> 30))
        key = _mark(status)
        digest = self._kept.get(key) or self._fresh.get(key)
        if digest is None:
            digest, key = self._read(path)
        if key in self._kept or key in self._fresh:
            self._used[key] = digest
        self.hashes[path] = digest = self._before_conda(path, digest)
        return digest

    def _read(self, path):
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        for _ in range(2):
            begun, seen = time.time_ns(), hashlib.sha256()
            with open(path, "rb", buffering=0, opener=lambda path, _: os.open(path, flags)) as file:
                status = os.fstat(file.fileno())
                left = status.st_size
                for piece in iter(lambda file=file: file.read(1 << 18), b""):
                    left -= len(piece)
                    if left < 0:
                        break
                    seen.update(piece)
                    self.bytes += len(piece)
                    self.rest()
                if left == 0 and _mark(os.fstat(file.fileno())) == _mark(status):
                    break
        else:
            raise _Unknown("%s changes while it is read" % path)
        digest, key = _recorded(seen.digest()), _mark(status)
        # A later change could bear the same times.
        if begun - max(status.st_mtime_ns, status.st_ctime_ns) > FRESH:
            self._fresh[key] = digest
        return digest, key

    def _before_conda(self, path, digest):
        """Return the digest that a file had before conda wrote the path of the environment into it."""
        if self._conda is None:
            self._conda, meta = {}, os.path.join(self.facts["prefix"], "conda-meta")
            for name in os.listdir(meta) if os.path.isdir(meta) else ():
                try:
                    for each in json.loads(_text(meta, name))["paths_data"]["paths"]:
                        if each.get("prefix_placeholder") and each.get("sha256_in_prefix"):
                            full = os.path.join(self.facts["prefix"], each["_path"])
                            both = (each["sha256_in_prefix"], each["sha256"])
                            self._conda[full] = tuple(_recorded(bytes.fromhex(digest)) for digest in both)
                except (ValueError, KeyError, TypeError, _Unknown):
                    continue
        installed, before = self._conda.get(path, ("", ""))
        return before if installed == digest else digest

    def _bytecode(self, at, sources, relative, lines):
        """Append compiled files that Python would run although they aren't what the source says."""
        tag, optimize = self.facts["tag"], self.facts["optimize"]
        if tag != sys.implementation.cache_tag:
            return
        tail = "." + tag + (".opt-%d" % optimize if optimize else "") + ".pyc"
        sys.pycache_prefix = self.facts["pycache_prefix"]
        try:
            with os.scandir(os.path.dirname(importlib.util.cache_from_source(os.path.join(at, "x.py")))) as entries:
                compiled = {entry.name: entry for entry in entries}
        except OSError:
            return
        for source in sorted(sources):
            entry = compiled.get(source[:-3] + tail)
            if entry is None:
                continue
            try:
                status, own = sources[source], entry.stat()
                key = _mark(status) + " " + _mark(own)
                digest = self._kept.get(key) or self._fresh.get(key)
                if digest is None:
                    digest = self._fresh[key] = self._other_code(at + os.sep + source, status, entry.path, own)
                self._used[key] = digest
            except (OSError, ValueError):
                continue
            if digest != "=":
                lines.append(((relative + "/" if relative else "") + source + "c", digest))

    def _other_code(self, path, status, compiled, own):
        with open(compiled, "rb") as file:
            head = file.read(16)
            if len(head) < 16 or head[:4] != importlib.util.MAGIC_NUMBER:
                return "="
            flags = int.from_bytes(head[4:8], "little")
            if flags == 0:
                times = int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
                if (int.from_bytes(head[8:12], "little"), int.from_bytes(head[12:], "little")) != times:
                    return "="  # Python compiles it again.
                # Links to a file move its ctime.
                if max(status.st_mtime_ns, status.st_ctime_ns if status.st_nlink == 1 else 0) <= own.st_mtime_ns:
                    return "="
            elif flags != 1:
                return "="  # Python compares the hash of the source.
            body = file.read()
        with open(path, "rb") as file:
            source = file.read()
        if flags == 1 and importlib.util.source_hash(source) == head[8:]:
            return "="
        with contextlib.suppress(Exception):
            # What Python itself would load, and in a child.
            run = marshal.loads(body)  # noqa: S302
            if run == compile(source, path, "exec", dont_inherit=True, optimize=self.facts["optimize"]):
                return "="
        return hashlib.sha256(body).hexdigest()

    def rest(self):
        """Give way to others; end what takes too long, or is for nobody."""
        now = time.perf_counter()
        if now > self._end:
            raise _Unknown("not read yet: it takes longer than %d s" % self.asked.get("seconds", SECONDS))
        if now - self._slept > 0.002:
            parent, pace = self.asked.get("parent"), self.asked.get("pace")
            if parent and hasattr(os, "getppid") and os.getppid() != parent:
                raise SystemExit
            if pace:
                time.sleep((now - self._slept) * pace)
            self._slept = time.perf_counter()


def _kept(path):
    """Return what an earlier look has kept in a file, or None where there is nothing that can be believed."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            # Where somebody else can write it, it could make differences disappear.
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
                return None
            kept = json.loads(file.read().decode("utf-8"))
            return kept if isinstance(kept, dict) and {str}.issuperset(map(type, kept.values())) else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _age(path):
    try:
        return -os.stat(path).st_mtime
    except OSError:
        return 0.0


def _mark(status):
    times = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "%x %x %x %x %x" % times


def _children(at):
    """Return {name: entry} of a folder, or of one in a zip."""
    if isinstance(at, dict):
        return at
    try:
        with os.scandir(at) as entries:
            return {entry.name: entry for entry in entries}
    except OSError as error:
        raise _Unknown("%s: %s" % (at, error.strerror)) from None


def _is_folder(kid):
    return kid.is_dir() if isinstance(kid, os.DirEntry) else isinstance(kid, dict)


def _is_file(kid):
    return kid.is_file() if isinstance(kid, os.DirEntry) else isinstance(kid, tuple)


def _where(kid):
    return kid.path if isinstance(kid, os.DirEntry) else kid


def _text(at, *names):
    """Return the beginning of a text file, also in a zip; ``""`` where there is none."""
    if isinstance(at, dict):
        for name in names:
            at = at.get(name, {}) if isinstance(at, dict) else {}
        return at[0].read(at[1]).decode("utf-8", "replace") if isinstance(at, tuple) else ""
    path = os.path.join(at, *names)
    try:
        with open(path, "rb", opener=_opener) as file:
            return file.read(32 << 20).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise _Unknown("%s: %s" % (path, error.strerror)) from None


def _opener(path, flags):
    """Open a regular file only: a pipe would wait for somebody to write, and a device may never end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor
    os.close(descriptor)
    raise _Unknown(_no_file(path, status))


def _no_file(path, status):
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISDIR, "folder"))
    kind = next((kind for test, kind in kinds if test(status.st_mode)), "device")
    return "%s is a %s, not a file" % (path, kind)


class _Installed:
    """The distributions of one entry of sys.path, and which of its files each has brought."""

    def __init__(self, at, kids, suffixes):
        self.records = {}
        self.errors = {}
        self.roots = {}
        self.markers = {}
        self.requires = {}
        self._files = {}
        self._owners = {}
        self._deep = set()
        for key in sorted(kids):
            if key.endswith((*_INFO, ".egg-link")):
                try:
                    self._add(at, key, _is_folder(kids[key]), suffixes)
                except _Unknown as error:
                    self.errors[_normal(key.split("-")[0])] = str(error)

    def _add(self, at, key, folder, suffixes):
        if key.endswith(".egg-link"):
            root = _text(at, key).split("\n")[0].strip()
            about = next((_text(root, each, "PKG-INFO") for each in _names(root) if each.endswith(".egg-info")), "")
            self.roots[_normal(_header(about, "Name") or key[:-9])] = root
            return
        name, metadata, files = _normal(key.split("-")[0]), "", {}
        try:
            # An uninstall that was killed leaves an empty folder.
            about = [] if not folder else ["METADATA" if key.endswith(_INFO[0]) else "PKG-INFO"]
            metadata = _text(at, key, *about)
            name = _normal(_header(metadata, "Name") or name)
            if name in self.records:
                return  # The first one is what the metadata of the process tells.
            files = _listed(at, key, suffixes) if folder else {}
        except _Unknown as error:
            self.errors[name] = str(error)
        self.records[name] = self._files[name] = files
        for top in _heads(files) - {"..", "", key}:
            self._owners.setdefault(top, set()).add(name)
        self._requirements(name, metadata)
        try:
            origin = json.loads(_text(at, key, "direct_url.json") or "{}") if folder else {}
            if origin.get("dir_info", {}).get("editable") and origin.get("url", "").startswith("file://"):
                from urllib.parse import unquote, urlsplit

                self.roots[name] = unquote(urlsplit(origin["url"]).path)
        except (ValueError, AttributeError, _Unknown):
            pass

    def owners(self, file):
        """Return the distributions that have brought a file, or files of a folder."""
        top, below, _ = file.partition("/")
        if below and top not in self._deep:
            # Only namespaces ask for this.
            self._deep.add(top)
            for name in list(self._owners.get(top, ())):
                for each in self._files[name]:
                    parts = each.split("/")
                    for depth in range(2, len(parts) + 1) if parts[0] == top else ():
                        self._owners.setdefault("/".join(parts[:depth]), set()).add(name)
        return self._owners.get(file, set())

    def _requirements(self, name, metadata):
        always, extra = self.requires[name] = [], []
        for line in metadata.split("\n\n")[0].splitlines():
            if line.startswith("Requires-Dist:"):
                requirement, _, marker = line[14:].partition(";")
                match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
                required = match and _normal(match.group(1))
                if match and "extra" in marker:
                    extra.append(_clip(required))
                elif match:
                    always.append(_clip(required))
                    self.markers.setdefault(required, set()).add(marker.strip())


def _listed(at, key, suffixes):
    """Return ``{file: (digest, size)}`` of what a distribution has brought, by its own records."""
    files = {row[0]: row[1:] for row in csv.reader(_text(at, key, "RECORD").splitlines()) if row}
    if not files:
        lines = _text(at, key, "installed-files.txt").splitlines()
        files = {os.path.normpath(os.path.join(key, each)).replace(os.sep, "/"): () for each in lines}
    if not files:
        tops = _text(at, key, "top_level.txt").split()
        files = {each: () for top in tops for each in (top + "/x", *(top + suffix for suffix in suffixes))}
    return files


def _heads(files):
    return {file.split("/", 1)[0] for file in files}


def _names(folder):
    try:
        return sorted(os.listdir(folder))
    except (OSError, TypeError):
        return []


def _header(metadata, key):
    for line in metadata.split("\n\n")[0].splitlines():
        if line.startswith(key + ":"):
            return line[len(key) + 1 :].strip()
    return ""


class _Found:
    """What one name leads to: its kind, place, owners and digest."""

    def __init__(self, kind, digest, built, owners, index, path, error=""):
        self.kind, self.digest, self.built, self.owners = kind, digest, built, owners
        self.index, self.path, self.error = index, path, error
        self.lines = ()


class _Map:
    """The names that a process could import, by the rules of its finders, in order."""

    def __init__(self, asked):
        self.facts = asked["places"]
        self.asked = asked
        self.digests = _Digests(self.facts, asked)
        self.suffixes = self.facts["suffixes"] + [".py", ".pyc"]
        self.names = {}
        self.library = {}
        self.unknown = list(self.facts["unknown"])
        self.installed = {}
        self.claims = {}
        self.entries = []
        self.sites = set()
        self.editable = set()
        self.known = set()
        self.empty = set()
        self._hidden = object()

    def answer(self):
        """Return the answer of `imports`."""
        for group in self.facts["found"]:
            if group["kind"] == "path":
                self._path(group["entries"])
            elif group["kind"] == "files":
                self._files(group)
            else:
                self._editable(group)
        of_build = {name: self.library.pop(name) for name in list(self.library) if name.startswith(_OF_BUILD)}
        for name, found in of_build.items():
            if not name.startswith(_OF_BUILD[0]):
                self.names.setdefault(name, found)
        self._loaded()
        self.digests.save()
        packages, modules = self._packages(), self._modules()
        answer = {
            "packages": packages,
            "modules": modules,
            "shadows": self._shadows(),
            "library": "built:" + _sum("%s %s" % (name, self.library[name].digest) for name in sorted(self.library)),
            "unknown": [[_clip(what), _clip(why)] for what, why in self.unknown][:500],
            "conditional": self._conditional(),
            "watched": self._watched(),
        }
        if self.asked.get("local"):
            installed = self.installed.items()
            # Of two of one name the first is what is imported.
            answer["requires"] = {
                n: r for _, each in sorted(installed, reverse=True) for n, r in each.requires.items() if any(r)
            }
        if self.asked.get("names"):
            answer["names"] = {name: found.digest for name, found in self.names.items()}
        return answer

    # ---- the walk

    def _path(self, entries):
        stdlib = {os.path.normpath(path) for path in self.facts["stdlib"]}
        library, places, seen = [], [], set()
        for entry in entries:
            self.entries.append(entry["path"])
            key = (os.path.normpath(entry["path"]), entry.get("below"))
            if entry["kind"] == "missing" or key in seen:
                continue
            seen.add(key)
            index = len(self.entries) - 1
            if key[0] in stdlib:
                library.append((index, self._node(entry)))
                places.append((index, None))
            else:
                places.append((index, _Spaces(entry["names"]) if entry["kind"] == "spaces" else self._node(entry)))
        others, self.names = self.names, self.library
        self._walk(library, "")
        self.names, self.empty = others, set()
        self._survey([(index, at) for index, at in places if at is not None and not isinstance(at, _Spaces)])
        # One walk over all: namespaces may have portions on both sides of the library.
        self._walk(places, "")
        self.names = {name: found for name, found in self.names.items() if found is not self._hidden}

    def _survey(self, places):
        """Find the distributions and the names that matter: a home folder on the path is not searched for others."""
        sites = {os.path.normpath(site) for site in self.facts["sites"]}
        self.known = {*self.library, *self.facts["loaded"], *map(str, self.asked.get("wanted", ()))}
        for index, at in places:
            try:
                kids = _children(at)
            except _Unknown:
                continue
            if any(key.endswith((*_INFO, ".egg-link")) for key in kids):
                self.installed[index] = installed = _Installed(at, kids, self.suffixes)
                self.known |= {top.split(".")[0] for files in installed.records.values() for top in _heads(files)}
            if os.path.normpath(self.entries[index]) in sites or any(key.endswith(".dist-info") for key in kids):
                self.sites.add(index)
                self.known |= {key.split(".")[0] for key in kids}
                self._startup(index, at, kids)
        roots = {os.path.realpath(root) for installed in self.installed.values() for root in installed.roots.values()}
        for index, _ in places:
            real = os.path.realpath(self.entries[index])
            if index not in self.sites and any(real == root or real.startswith(root + os.sep) for root in roots):
                self.editable.add(index)

    def _matters(self, index, key, kid):
        """Whether something at the top of an entry can matter to a comparison."""
        name = key.split(".")[0]
        if index in self.sites or name in self.known:
            return True
        if index not in self.editable or name in _BESIDE | _NOT_MODULES:
            return False
        # Beside the code of a project lies everything else of it; a folder of sources holds nothing but code.
        sources = os.path.basename(os.path.normpath(self.entries[index])) in ("src", "lib", "python")
        return sources or not _is_folder(kid) or any("__init__" + s in _names(_where(kid)) for s in self.suffixes)

    def _node(self, entry):
        if entry["kind"] == "dir":
            return entry["path"]
        try:
            archive, top = zipfile.ZipFile(entry["path"]), _Folder()
            importer = zipimport.zipimporter(entry["path"])
            listed = importer._get_files() if hasattr(importer, "_get_files") else importer._files
            listed = {name.replace(os.sep, "/") for name in listed}
            for member in archive.infolist():
                if not member.filename.startswith(entry["below"]):
                    continue
                at, done, parts = top, entry["below"], member.filename[len(entry["below"]) :].split("/")
                for part in parts[:-1]:
                    done += part + "/"
                    at = at.setdefault(part, _Folder())
                    # zipimport sees only folders that have an entry of their own.
                    at.implied = done not in listed
                if parts[-1]:
                    at[parts[-1]] = (archive, member)
            return top
        except Exception as error:
            self.unknown.append([entry["path"], "this zip can't be read: " + type(error).__name__])
            return _Folder()

    def _walk(self, portions, prefix):
        """Find the names that folders serve, by PathFinder's rule; return whether there are any.

        The first package or module of a name wins; where there is none, all folders of that name, in order, are one namespace.
        """
        spaces, legacy, rest, some = {}, {}, [], False
        for index, at in portions:
            if at is None:
                for name in self.library:
                    self.names.setdefault(name, self._hidden)
                    spaces.pop(name, None)
                continue
            if isinstance(at, _Spaces):
                for name, paths in at.items():
                    if name.rpartition(".")[0] == prefix[:-1]:
                        folders = spaces.setdefault(name.rpartition(".")[2], [])
                        folders.extend((index, path) for path in paths if os.path.isdir(path))
                continue
            try:
                kids = _children(at)
            except _Unknown as error:
                if os.path.isdir(at):
                    self.unknown.append([prefix.rstrip(".") or at, str(error)])
                continue
            if not prefix and self.names is not self.library:
                kids = {key: kid for key, kid in kids.items() if self._matters(index, key, kid)}
            served = self._served(index, at, kids, prefix, spaces, legacy)
            some = some or any(name.endswith("\0") for name in served)
            self._beside(index, kids, prefix, served, rest)
        for full, (found, folders) in legacy.items():
            if len(folders) > 1:  # extend_path and declare_namespace
                parts = [(str(number), folder) for number, (_, folder) in enumerate(folders)]
                self._put(full, found.kind, parts, found.owners, found.index)
        direct = some
        for name, folders in spaces.items():
            full = prefix + name
            if full in self.names:
                continue
            if full.count(".") > 30:
                self.unknown.append([full, "its folders are too deep"])
            elif self._walk(folders, full + "."):
                some = True
                self.names.setdefault(full, _Found("namespace", "", False, set(), folders[0][0], folders[0][1]))
            else:
                self.empty.add(full)
                if prefix:
                    rest += [(name, folder, index) for index, folder in folders]
        if prefix and direct and rest:
            # What lies beside the modules of a namespace may be read by them.
            first = {}
            for key, kid, index in rest:
                first.setdefault(key, (_where(kid), index))
            parts = [(key, place) for key, (place, _) in sorted(first.items())]
            owners = set()
            for key, (_, index) in first.items():
                owners |= self._owners(index, prefix, key)
            self._put(prefix[:-1], "namespace", parts, owners, portions[0][0])
        return some

    def _served(self, index, at, kids, prefix, spaces, legacy):
        """Enter what one folder serves; return the names of its files, and of each module with a trailing NUL."""
        zipped = isinstance(at, dict)
        suffixes = [".pyc", ".py"] if zipped else self.suffixes
        served = set()
        for name in sorted({_stem(key, kids[key], suffixes) for key in kids} - {None}):
            self.digests.rest()
            full, kid = prefix + name, kids.get(name)
            folder = kid is not None and _is_folder(kid)
            hit = None
            if folder:
                try:
                    inner = _children(_where(kid))
                except _Unknown as error:
                    self.unknown.append([full, str(error)])
                    continue
                inits = ("__init__" + suffix for suffix in suffixes)
                if any(init in inner and not _is_folder(inner[init]) for init in inits):
                    hit = ("package", kid, name)
            if hit is None:
                suffix = next((s for s in suffixes if name + s in kids and _is_file(kids[name + s])), None)
                if suffix is not None:
                    kind = "module" if suffix in (".py", ".pyc") else "extension"
                    hit = (kind, kids[name + suffix], name + suffix)
            if hit is None:
                if folder and name.isidentifier() and not getattr(kid, "implied", False):
                    if full in legacy:
                        legacy[full][1].append((index, _where(kid)))
                    spaces.setdefault(name, []).append((index, _where(kid)))
                    served.add(name)
                continue
            served.update((name + "\0", name, hit[2]))
            owners = self._claimed(index, prefix, hit[2], full)
            if full in self.names:
                if full in legacy and folder:
                    legacy[full][1].append((index, _where(kid)))
                continue
            before = spaces.pop(name, [])
            found = self._put(full, hit[0], [("", _where(hit[1]))], owners, index)
            if hit[0] == "package" and _extends(_where(hit[1])):
                legacy[full] = (found, [(index, _where(hit[1])), *before])
        return served

    def _beside(self, index, kids, prefix, served, rest):
        """Note what lies beside modules: data of a namespace, libraries that extensions load."""
        for key in sorted(set(kids) - served - {"__pycache__"}):
            if key.endswith(_INFO) or (not prefix and key.endswith((".pth", ".egg-link", ".egg"))):
                continue
            if prefix:
                rest.append((key, kids[key], index))
            elif index in self.sites and key not in self.names and not key.isidentifier() and _runs(key, kids[key]):
                self._put(key, "files", [("", _where(kids[key]))], self._claimed(index, "", key, key), index)

    def _startup(self, index, at, kids):
        """Enter what Python runs at its start: the lines of ``.pth`` files that import something."""
        sites = [os.path.normpath(site) for site in self.facts["sites"]]
        for key in sorted(kids):
            if key.endswith(".pth") and isinstance(at, str) and os.path.normpath(at) in sites:
                try:
                    lines = [line.rstrip() for line in _text(at, key).splitlines()]
                except _Unknown as error:
                    self.unknown.append([key, str(error)])
                    continue
                run = [line for line in lines if line.startswith(("import ", "import\t"))]
                if run and not key.startswith(_EDITABLE):
                    owners = self._claimed(index, "", key, key)
                    self.names.setdefault(key, _Found("files", _sum(run), False, owners, index, at))

    def _owners(self, index, prefix, file):
        installed = self.installed.get(index)
        return installed.owners(prefix.replace(".", "/") + file) if installed else set()

    def _claimed(self, index, prefix, file, name):
        """Return the owners of a file, which claim the name that it serves, whatever that leads to."""
        owners = self._owners(index, prefix, file)
        for owner in owners if not name.startswith(_EDITABLE) else ():
            self.claims.setdefault(owner, set()).add(name)
        return owners

    # ---- editable installs

    def _files(self, group):
        """Enter the modules that a finder has listed one by one."""
        tops = {}
        for name, path in sorted(group["names"].items()):
            tops.setdefault(name.split(".")[0], []).append((name.replace(".", "/"), path))
        for top, parts in tops.items():
            if top not in self.names and top not in self.library:
                self._put(top, "package" if len(parts) > 1 else "module", parts, set(), None)

    def _editable(self, group):
        """Enter the modules that a finder leads to a folder or file."""
        for name, path in sorted(group["names"].items()):
            if name in self.names or name in self.library or name in self.empty:
                continue  # An empty folder on the path hides it.
            if os.path.basename(path).startswith("__init__."):
                path = os.path.dirname(path)
            place = next((each for each in (path, *(path + s for s in self.suffixes)) if os.path.exists(each)), None)
            if place is None:
                self.unknown.append([name, "%s serves it from no file" % group["by"]])
            else:
                self._put(name, "package" if os.path.isdir(place) else "module", [("", place)], set(), None)

    def _loaded(self):
        """Enter what the process has loaded of code that its path no longer leads to."""
        if not self.asked.get("local"):
            return
        inside = tuple(
            os.path.join(os.path.realpath(path), "")
            for path in (*self.facts["stdlib"], self.facts["prefix"], *self._sites())
        )
        for name, path in sorted(self.facts["loaded"].items()):
            if name in self.names or name in self.library or not os.path.exists(path):
                continue
            real = os.path.realpath(path)
            if not real.startswith(inside) and real.endswith(".py"):
                kind = "package" if os.path.basename(real) == "__init__.py" else "module"
                self._put(name, kind, [("", os.path.dirname(real) if kind == "package" else real)], set(), None)

    def _sites(self):
        return [self.entries[index] for index in self.sites]

    # ---- the answer

    def _put(self, name, kind, parts, owners, index):
        lines = []
        try:
            for relative, at in parts:
                self.digests.tree(at, relative, lines)
            digest, error = _sum([relative + "\0" + digest for relative, digest in lines]), ""
        except (_Unknown, OSError, zipfile.BadZipFile, ValueError, RuntimeError) as fault:
            digest, error = "", str(fault) or type(fault).__name__
        built = kind == "extension" or any(_is_binary(name) for name, _ in lines if name[-3:] != ".py")
        path = parts[0][1] if isinstance(parts[0][1], str) else self.entries[index] if index is not None else ""
        found = _Found(kind, digest, built, owners, index, path, error)
        if not owners and len(lines) <= LISTED_FILES:
            found.lines = lines
        if lines or error or kind != "files":
            self.names[name] = found
        return found

    def _packages(self):
        packages, owned = {}, self._by_owner()
        for index, installed in sorted(self.installed.items()):
            for name, record in installed.records.items():
                if name in packages:
                    continue
                entry = packages[name] = {}
                names = sorted(owned.get(name, ()))
                missing, edited, errors = self._compared(self.entries[index], record)
                errors += [self.names[each].error for each in names if each in self.names and self.names[each].error]
                errors[:0] = [installed.errors[name]] if name in installed.errors else []
                elsewhere = [
                    self.names[each].path + ", which is imported instead"
                    for each in sorted(self.claims.get(name, ()))
                    if each in self.names
                    and self.names[each].owners.isdisjoint({name})
                    and self.names[each].kind != "files"
                ]
                if errors:
                    entry["error"] = _clip(errors[0])
                else:
                    entry["content"] = self._content(names)
                modules = [each for each in names if self._is_module(each) and ("." in each or _normal(each) != name)]
                if modules:
                    entry["modules"] = [_clip(each) for each in modules[:50]]
                if missing:
                    entry["missing"] = [len(missing), *map(_clip, missing[:SHOWN])]
                if edited or elsewhere:
                    entry["edited"] = [len(edited + elsewhere), *map(_clip, (elsewhere + edited)[:SHOWN])]
        return packages

    def _is_module(self, name):
        found = self.names.get(name)
        return found is not None and found.kind != "files" and not name.startswith("_")

    def _content(self, names):
        """Return the digest of what `names` lead to, also where that isn't what was installed for them."""
        lines, built = [], False
        for name in names:
            found = self.names.get(name) or self.library.get(name)
            lines.append("%s %s" % (name, found.digest if found else ""))
            built = built or bool(found and found.built)
        return ("built:" if built else "pure:") + _sum(lines)

    def _by_owner(self):
        """Return {distribution: names}: what it brought, what its names lead to instead, and the trees of editable ones."""
        owned = {name: set(names) for name, names in self.claims.items()}
        for name, found in self.names.items():
            for owner in found.owners if not name.startswith(_EDITABLE) else ():
                owned.setdefault(owner, set()).add(name)
        roots = {}
        for installed in self.installed.values():
            for owner, root in installed.roots.items():
                roots.setdefault(os.path.join(os.path.realpath(root), ""), owner)
        for name, found in self.names.items():
            if roots and not found.owners and found.path and found.kind != "files":
                real = os.path.realpath(found.path)
                for root in sorted(roots, key=len, reverse=True):
                    if real.startswith(root):
                        if name.split(".")[0] not in _BESIDE | _NOT_MODULES:
                            owned.setdefault(roots[root], set()).add(name)
                        found.owners = {roots[root]}
                        break
        return owned

    def _compared(self, folder, record):
        """Return the files of a RECORD that are missing, that have another content, and why some can't be read."""
        missing, edited, errors = [], [], []
        hashes, inside = self.digests.hashes, os.path.join(folder, "")
        for name, expected in record.items():
            digest = hashes.get(inside + name)
            if digest is not None and len(expected) > 1 and expected[0] == "sha256=" + digest:
                continue
            parts = name.split("/")
            if parts[0] in ("..", "") or parts[0].endswith((*_INFO, ".data")):
                if name.endswith(".dist-info/METADATA") and not os.path.exists(os.path.join(folder, name)):
                    missing.append(name)
                continue
            if len(expected) < 2 or not expected[0]:
                continue
            if digest is None:
                code = name.endswith((".py", *_BINARY)) and not _BESIDE.intersection(parts[:-1])
                if code:
                    try:
                        status = os.stat(inside + name)
                        errors += [] if stat.S_ISREG(status.st_mode) else [_no_file(inside + name, status)]
                    except OSError:
                        # Container images leave tests out to be small.
                        missing.append(name)
                continue
            algorithm, _, value = expected[0].partition("=")
            if algorithm == "sha256" and value != digest and value.rstrip("=") != digest:
                edited.append(name)
        return missing, edited, errors

    def _modules(self):
        """Return the code that no distribution brought and that matters here: wanted, loaded, installed, or in the way."""
        wanted = set(map(str, self.asked.get("wanted", ())))
        loaded = set(self.facts["loaded"]) if self.asked.get("local") else set()
        tops = {}
        for name in self.names:
            tops.setdefault(name.split(".")[0], []).append(name)
        modules, listed = [], 0
        for top, names in sorted(tops.items()):
            if top.startswith(_EDITABLE):
                continue
            others = [name for name in names if not self.names[name].owners]
            mine = len(others) < len(names)
            # Where distributions share a namespace, each name in it is one of its own.
            for name in sorted(others) if mine else [top] if top in self.names else ():
                found = self.names[name]
                reported = top in wanted or found.index in self.sites or top in self.library
                if not reported and not (top in loaded and self._is_loaded(top)):
                    continue
                parts = [name] if mine else sorted(names)
                if mine and not found.digest and not found.error:
                    continue  # A namespace is what lies in it.
                label = name.replace(".", "/") + {"package": "/", "namespace": "/", "files": ""}.get(found.kind, ".py")
                module = {"name": _clip(name if found.kind == "files" else label), "path": _clip(found.path)}
                # What lies in a folder of distributions, or is run at the start of Python, wasn't imported by a user.
                if top in loaded and found.index not in self.sites and not top.startswith(_OF_BUILD):
                    module["used"] = True
                errors = [self.names[part].error for part in parts if self.names[part].error]
                module.update({"error": _clip(errors[0])} if errors else {"content": self._content(parts)})
                files = {} if errors else self._files_of(parts)
                listed += len(files)
                if 1 < len(files) <= LISTED_FILES and listed <= LISTED:
                    module["files"] = files
                modules.append(module)
        return modules

    def _files_of(self, names):
        """Return the beginnings of the digests of the files that some names lead to, by their paths below the first."""
        files = {}
        for name in names:
            found, below = self.names[name], name[len(names[0]) + 1 :].replace(".", "/")
            for relative, digest in found.lines:
                path = "/".join(filter(None, (below, relative)))
                files[_clip(path + (".py" if not relative and found.kind == "module" else ""))] = digest[:8]
        return files

    def _shadows(self):
        """Return the paths of what would be imported instead of a module of the standard library."""
        shadows = [self.names[name].path for name in sorted(set(self.library) - _IDLE) if name in self.names]
        return [_clip(path) for path in shadows][:SHOWN]

    def _is_loaded(self, name):
        path, place = os.path.realpath(self.facts["loaded"][name]), os.path.realpath(self.names[name].path)
        return path == place or path.startswith(place + os.sep)

    def _conditional(self):
        markers = {}
        for installed in self.installed.values():
            for name, some in installed.markers.items():
                markers.setdefault(name, set()).update(some)
        return {name: sorted(map(_clip, some))[:20] for name, some in markers.items() if "" not in some}

    def _watched(self):
        tops = [found.path for found in self.names.values() if found.kind == "package" and found.path]
        return [path for path in (*self.entries, *tops) if path][:5000]


def _stem(name, kid, suffixes):
    if name == "__pycache__" or name.endswith(_INFO):
        return None
    if _is_folder(kid):
        return name if "." not in name else None
    for suffix in suffixes:
        if name.endswith(suffix) and "." not in name[: -len(suffix)] and name != suffix:
            return name[: -len(suffix)]
    return None


def _extends(at):
    try:
        text = "" if isinstance(at, dict) else _text(at, "__init__.py")
    except _Unknown:
        return False
    return "extend_path" in text or "declare_namespace" in text


def _runs(name, kid):
    """Whether something beside modules is loaded by some: ``numpy.libs``, shared code of mypyc."""
    return _is_folder(kid) or _is_binary(name)


def _is_binary(relative):
    name = relative.rsplit("/", 1)[-1]
    return name.endswith(_BINARY) or ".so." in name


def _recorded(digest):
    """Return a digest as RECORD has it."""
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
