"""Makes pairs of small environments, of which the second differs from the first by some mutation of the random choice given."""

from __future__ import annotations

import os
import py_compile
import random
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

NAMES = (
    "edit",
    "zm",
    "zp",
    "zns",
    "zdir",
    "ns",
    "ns2",
    "legacy",
    "extn",
    "d0",
    "only",
    "colorsys",
    "random",
    "json",
    "queue",
)
"""Names that are asked for beside those that lie on the path."""
_FINDER = """
import os, sys
from importlib.util import spec_from_file_location
MAPPING = {'edit': os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + '/src/edit'}
NAMESPACES = {}
class _EditableFinder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return spec_from_file_location(name, MAPPING[name] + '/__init__.py')
def install():
    if _EditableFinder not in sys.meta_path:
        sys.meta_path.append(_EditableFinder)
"""
_STRANGE = """import sys; exec("class F:\\n def find_spec(self,n,p=None,t=None):\\n  if n=='%s':\\n   import importlib.util as u\\n   \
return u.spec_from_file_location(n,'%s')\\nsys.meta_path.insert(0,F())")
"""
_COMPILE = """
import importlib.util as u, os, py_compile, sys
path, text, mode, same = sys.argv[1:]
old = open(path, 'rb').read()
status = os.stat(path)
times = (status.st_atime_ns, status.st_mtime_ns)
open(path, 'w').write(old.decode() if same == '1' else text)
os.utime(path, ns=times)
mode = getattr(py_compile.PycInvalidationMode, mode)
py_compile.compile(path, cfile=u.cache_from_source(path), invalidation_mode=mode)
open(path, 'wb').write(old)
os.utime(path, ns=times)
"""


def put(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def member(archive: zipfile.ZipFile, name: str, text: str) -> None:
    # Without the present time.
    archive.writestr(zipfile.ZipInfo(name), text)


def base(root: Path, r: random.Random) -> None:
    """Six distributions over a site folder and two other ones, a zip, an editable finder, and what else there is."""
    for number in range(6):
        name, at = f"d{number}", root / r.choice(["sp", "sp", "p1", "p2"])
        kind = r.choice(["module", "package", "package", "space", "deep"])
        files = {
            "module": {f"{name}.py": f"A = {r.randrange(99)}\n"},
            "space": {f"ns/{name}/__init__.py": "A = 1\n", f"ns/{name}/q.sql": "select"},
            "deep": {f"ns2/mid/{name}.py": "A = 1\n", f"ns2/mid/{name}.txt": "t"},
            "package": {
                f"{name}/__init__.py": "from .sub import A\n",
                f"{name}/sub.py": f"A = {r.randrange(10, 99)}\ndef f(x):\n    return x + {r.randrange(9)}\n",
                f"{name}/data/q.sql": f"select {r.randrange(9)}",
                f"{name}/deep/__init__.py": "",
            }
            | ({f"{name}.libs/libx.so.1": "elf"} if r.random() < 0.3 else {}),
        }[kind]
        for file, text in files.items():
            put(at / file, text)
        about = at / f"{name}-1.0.dist-info"
        put(about / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        put(about / "RECORD", "".join(f"{file},,\n" for file in files))
        put(about / "INSTALLER", "uv")
    for folder in ("sp", "p1", "p2"):
        (root / folder).mkdir(exist_ok=True)
    put(root / "src/edit/__init__.py", "A = 1\n")
    put(root / "other/edit/__init__.py", "A = 2\n")
    put(root / "sp/__editable___edit_1_0_finder.py", _FINDER)
    put(root / "sp/__editable__.edit-1.0.pth", "import __editable___edit_1_0_finder as f; f.install()\n")
    put(root / "sp/bytes.txt", "x")
    put(root / "t.py", "A = 'b'\n")
    py_compile.compile(str(root / "t.py"), cfile=str(root / "sp/pyconly.pyc"))
    put(root / "sp/6ec57__mypyc.so", "elf0")
    put(root / "p1/legacy/__init__.py", "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
    put(root / "p2/legacy/one.py", "A=1\n")
    put(root / "p1/extn.abi3.so", "elf")
    put(root / "p1/extn.py", "A=0\n")
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        for name, text in (
            ("zm.py", "A = 1\n"),
            ("zp/__init__.py", "A = 1\n"),
            ("zp/d.txt", "d"),
            ("zns/in.py", "A = 1\n"),
        ):
            member(archive, name, text)
        member(archive, "zdir/", "")
        member(archive, "zdir/inn.py", "A = 1\n")


def flip(data: bytes) -> bytes:
    """Return other bytes, as many."""
    for place in range(len(data) - 1, -1, -1):
        if 48 <= data[place] <= 57:
            return data[:place] + bytes([48 + (data[place] - 47) % 10]) + data[place + 1 :]
    return data[:-1] + (b"y" if data[-1:] != b"y" else b"z") if data else b"#"


def keep(path: Path, data: bytes) -> None:
    """Write a file and leave its time."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class Pair:
    """One environment and a changed copy of it."""

    def __init__(self, folder: Path, seed: int, python: str) -> None:
        self.r = random.Random(seed)
        self.python = python
        self.first, self.root = folder / "a", folder / self.r.choice(["b", "another/much-longer"])
        base(self.first, self.r)
        self.root.parent.mkdir(exist_ok=True)
        shutil.copytree(self.first, self.root, symlinks=True)
        self.path, self.tail = ["@/p1", "@/p2"], []
        self.changes = [self._mutate()]
        if self.r.random() < 0.25:
            self.changes.append(self._mutate())

    def sides(self) -> list[tuple[Path, list[str], list[str]]]:
        """The root, path and tail of both."""
        return [(self.first, ["@/p1", "@/p2"], []), (self.root, self.path, self.tail)]

    def _mutate(self) -> str:
        name = self.r.choice(sorted(MUTATIONS))
        MUTATIONS[name](self)
        return name

    def source(self, suffix: str = ".py") -> Path:
        found = [path for folder in ("sp", "p1", "p2") for path in (self.root / folder).rglob("*" + suffix)]
        kept = [p for p in found if p.is_file() and "dist-info" not in str(p) and "__editable" not in p.name]
        return self.r.choice(sorted(kept))

    def name(self) -> str:
        found = {p.name.split(".")[0] for folder in ("sp", "p1", "p2") for p in (self.root / folder).iterdir()}
        return self.r.choice(sorted(name for name in found if not name.startswith("__") and "-1" not in name))

    def compiled(self, text: str, mode: str, same: str = "0") -> None:
        """Put bytecode of another text beside a source, as this interpreter would."""
        path = self.source()
        text = flip(path.read_bytes()).decode() if text == "flip" else text
        subprocess.run([self.python, "-I", "-c", _COMPILE, str(path), text, mode, same], check=True)

    def archive(self, name: str, mode: str, **members: str) -> None:
        with zipfile.ZipFile(self.root / name, mode) as archive:
            for key, text in members.items():
                archive.writestr(key.replace("__", "/") + ".py", text)
        self.path.insert(0, "@/" + name)

    def without_records(self) -> None:
        for path in (self.root / "sp").glob("*/RECORD"):
            path.unlink()

    def put(self, path: str, text: str = "A = 'other'\n") -> None:
        put(self.root / path, text)

    def moved(self, data: Callable[[bytes], bytes]) -> None:
        path = self.source()
        put(self.root / "elsewhere" / path.name, data(path.read_bytes()))
        path.unlink()
        path.symlink_to(self.root / "elsewhere" / path.name)

    def linked(self, name: str, target: Path | None) -> None:
        put(self.root / "elsewhere/sub/__init__.py", "A = 1\n")
        path = self.source().parent / name
        if not path.exists():
            path.symlink_to(target or path.parent)

    def edited(self, suffix: str = ".py") -> None:
        path = self.source(suffix)
        keep(path, flip(path.read_bytes()))


def _records_and_edit(pair: Pair) -> None:
    pair.without_records()
    pair.edited()


def _pth(pair: Pair, line: str) -> None:
    pair.put("add/d0.py")
    pair.put("add/only.py")
    pair.put("sp/zz.pth", line)


def _installer(pair: Pair) -> None:
    for path in (pair.root / "sp").glob("*.dist-info"):
        put(path / "INSTALLER", "pip")
        put(path / "REQUESTED", "")


def _strange(pair: Pair) -> None:
    pair.put("hk.py")
    pair.put("sp/zz.pth", _STRANGE % (pair.name(), pair.root / "hk.py"))


def _bytecode(pair: Pair) -> None:
    put(pair.root / "t.py", "A = 'c'\n")
    py_compile.compile(str(pair.root / "t.py"), cfile=str(pair.root / "sp/pyconly.pyc"))


def _finder(pair: Pair) -> None:
    path = pair.root / "sp/__editable___edit_1_0_finder.py"
    path.write_text(path.read_text().replace("/src/", "/other/"))


MUTATIONS: dict[str, Callable[[Pair], object]] = {
    "order": lambda p: p.r.shuffle(p.path),
    "order of portions": lambda p: p.path.reverse(),
    "shadow": lambda p: p.put(f"p1/{p.name()}.py"),
    "shadow by package": lambda p: p.put(f"p1/{p.name()}/__init__.py"),
    "shadow of the library": lambda p: p.put(f"p1/{p.r.choice(['colorsys', 'random', 'json', 'os', 'queue'])}.py"),
    "late name of the library": lambda p: p.put("sp/colorsys.py"),
    "portion": lambda p: p.put("p2/ns/more/__init__.py"),
    "portion over another": lambda p: p.put("p1/ns/d1/__init__.py"),
    "legacy portion": lambda p: p.put("sp/legacy/two.py"),
    "zip first": lambda p: p.path.insert(0, "@/z.zip"),
    "zip last": lambda p: p.tail.append("@/z.zip"),
    "zip with a name": lambda p: p.archive("y.zip", "w", **{p.name().replace("6", "x"): "A = 'zip'\n"}),
    "zip edited": lambda p: p.archive("z.zip", "a", zp__new="A = 2\n"),
    "link to another": lambda p: p.moved(flip),
    "link to the same": lambda p: p.moved(bytes),
    "linked folder": lambda p: p.linked("linked", p.root / "elsewhere/sub"),
    "loop": lambda p: p.linked("round", None),
    "edit with size and time kept": lambda p: p.edited(),
    "edit of data": lambda p: p.edited(p.r.choice([".so", ".1", ".sql"]) if list(p.root.rglob("*.1")) else ".so"),
    "removed": lambda p: p.source().unlink(),
    "added data": lambda p: put(p.source().parent / "new.json", "{}"),
    "added module": lambda p: put(p.source().parent / "added.py", "X = 1\n"),
    "unchecked bytecode": lambda p: p.compiled("A = 'other'\n", "UNCHECKED_HASH"),
    "unchecked bytecode of the same": lambda p: p.compiled("", "UNCHECKED_HASH", "1"),
    "checked bytecode": lambda p: p.compiled("A = 'other'\n", "CHECKED_HASH"),
    "stale bytecode": lambda p: p.compiled("flip", "TIMESTAMP"),
    "plain bytecode": lambda p: p.compiled("", "TIMESTAMP", "1"),
    "no RECORD, edited": _records_and_edit,
    "no RECORD": Pair.without_records,
    "an installer's files": _installer,
    "pth inserts": lambda p: _pth(p, "import sys, os; sys.path.insert(0, os.path.join(sitedir, '..', 'add'))\n"),
    "pth appends": lambda p: _pth(p, "../add\n"),
    "sitecustomize": lambda p: p.put(
        "sp/sitecustomize.py", p.r.choice(["import sys\nsys.path.reverse()\n", "X = 1\n"])
    ),
    "editable elsewhere": _finder,
    "editable edited": lambda p: keep(p.root / "src/edit/__init__.py", b"A = 3\n"),
    "editable hidden": lambda p: (p.root / "p1/edit").mkdir(exist_ok=True),
    "only bytecode": _bytecode,
    "package over module": lambda p: p.put("p1/extn/__init__.py", ""),
    "extension edited": lambda p: keep(p.root / "p1/extn.abi3.so", b"elg"),
    "times": lambda p: [os.utime(path, (1e9, 1e9)) for path in (p.root / "sp").rglob("*.py")],
    "missing entry": lambda p: p.path.append("@/nowhere"),
    "entry twice": lambda p: p.path.append(p.path[0]),
    "strange finder": _strange,
}
"""What may differ, by name; some of it changes nothing that an import would notice."""
