"""The probe on every Python that can be found, and against damaged installations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from coiled_jupyter.core.reading import ReadContent
from coiled_jupyter.texts import source
from tests.environments import environment, interpreters
from tests.readings import decode_reading

PROBE = Path("coiled_jupyter/texts/probe.py").resolve()
_RUN = "import sys; n = {}; exec(compile(open(sys.argv[1], 'rb').read(), 'probe', 'exec'), n); print(n['probe']())"
_TRUTH = """
import importlib.metadata as m, json, re, sys
seen = {}
for d in m.distributions():
    name = d.metadata["Name"]
    if name:
        seen.setdefault(re.sub(r"[-_.]+", "-", name).lower(), d.version)
print(json.dumps(seen))
"""


def run(python: str, *arguments: str, path: Path | None = None) -> dict:
    env = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run([python, *arguments], capture_output=True, text=True, env=env, check=True)
    return json.loads(done.stdout)


def test_at_least_three_minors():
    assert len(interpreters()) >= 3, interpreters()


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_agrees_with_importlib_metadata(minor):
    python = interpreters()[minor]
    reading = run(python, "-c", _RUN, str(PROBE))
    assert {p["name"]: p["version"] for p in reading["packages"]} == run(python, "-c", _TRUTH)
    assert reading["python"].startswith(minor + ".")
    assert reading["implementation"] == "cpython"


def distribution(folder: Path, name: str, version: str, *, metadata: str | None = None, **files: str) -> Path:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata if metadata is not None else f"Name: {name}\nVersion: {version}\n")
    for key, text in {"RECORD": "", "INSTALLER": "pip", **files}.items():
        (info / key.replace("__", ".")).write_text(text)
    return info


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_damage_is_data_and_credentials_go(minor, tmp_path):
    distribution(tmp_path, "twice", "1.0")
    distribution(tmp_path, "twice", "2.0")
    shutil.rmtree(tmp_path / "~ick", ignore_errors=True)
    (tmp_path / "~ick").mkdir()
    (tmp_path / "no_version.dist-info").mkdir()
    (distribution(tmp_path, "halved", "1.0") / "RECORD").unlink()
    (tmp_path / "bytes-1_0.dist-info").mkdir()
    (tmp_path / "bytes-1_0.dist-info" / "METADATA").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "loop.dist-info").symlink_to(tmp_path / "loop.dist-info")
    url = {"url": "https://me:secret@host/repo?token=secret", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    distribution(tmp_path, "vcs_lib", "1.0", direct_url__json=json.dumps(url))
    reading = run(interpreters()[minor], "-c", _RUN, str(PROBE), path=tmp_path)
    kinds = {(p["kind"], p["package"]) for p in reading["problems"]}
    assert {("duplicate", "twice"), ("leftover", None), ("unreadable", None), ("no_record", "halved")} <= kinds
    source = next(p["source"] for p in reading["packages"] if p["name"] == "vcs-lib")
    assert source == {"url": "https://host/repo", "kind": "vcs", "commit": "abc"}
    assert "secret" not in json.dumps(reading)


_ODD = """
import hashlib, json, os, re, sys, time  # with such a path nothing could be imported any more
folder = sys.argv[2]
os.makedirs(os.fsencode(folder) + b"/odd\\xff-1.0.dist-info")
for name in ("METADATA", "INSTALLER", "direct_url.json"):
    os.makedirs(folder + "/piped-1_0.dist-info", exist_ok=True)
    os.mkfifo(folder + "/piped-1_0.dist-info/" + name)
os.makedirs(folder + "/nested-1.0.dist-info/INSTALLER")
os.makedirs(folder + "/nested-1.0.dist-info/direct_url.json")
for at, data in enumerate(("null", "[" * 5000, '{"url": 7, "vcs_info": 3}', '"x"', "{", '{"dir_info": []}')):
    os.makedirs(folder + "/url%d-1.0.dist-info" % at)
    with open(folder + "/url%d-1.0.dist-info/direct_url.json" % at, "w") as file:
        file.write(data)
open(folder + "/file-1.0.dist-info", "w").close()
open(folder + "/empty.egg-link", "w").close()
open(folder + "/1.0.egg-info", "w").close()
open(folder + "/-.dist-info", "w").close()
os.symlink("/nowhere", folder + "/broken-1.0.dist-info")
os.makedirs(folder + "/newline-1.0.dist-info\\n")
sys.path[:0] = [folder, b"/bytes", 7, None, "\\0", "", "/nowhere", folder + "/file-1.0.dist-info", "x" * 5000]
class Evil(str):
    def __eq__(self, other): raise RuntimeError
    __hash__ = str.__hash__
sys.path.append(Evil("/nowhere"))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_nothing_on_the_path_makes_it_raise_or_wait(minor, tmp_path):
    done = subprocess.run(
        [interpreters()[minor], "-c", _ODD + _RUN, str(PROBE), str(tmp_path / "odd")],
        capture_output=True,
        check=True,
        timeout=20,
    )
    reading = json.loads(done.stdout)
    assert "error" not in reading
    assert {"nested", "file", "url0", "url5"} <= {p["name"] for p in reading["packages"]}
    assert decode_reading(done.stdout).packages


_UPGRADE = """
import json, os, sys
n = {}
exec(compile(open(sys.argv[1], 'rb').read(), 'probe', 'exec'), n)
import plain, versioned
n['baseline']()
folder = sys.argv[2]
for name in ('plain', 'versioned'):
    os.rename(f'{folder}/{name}-1.0.dist-info', f'{folder}/{name}-2.0.dist-info')
print(n['probe']())
"""


def test_what_runs_is_told_from_what_is_installed(tmp_path):
    for name, text in (("plain", ""), ("versioned", "__version__ = '1.0'")):
        distribution(tmp_path, name, "1.0")
        (tmp_path / f"{name}.py").write_text(text)
    reading = run(interpreters()["3.11"], "-c", _UPGRADE, str(PROBE), str(tmp_path), path=tmp_path)
    found = {p["name"]: (p["version"], *reading["loaded"].get(p["name"], ())) for p in reading["packages"]}
    assert found["plain"] == ("2.0", "1.0", "loaded")
    assert found["versioned"] == ("2.0", "1.0", "loaded")


_UPGRADE_OF_A_SLOPPY_ONE = """
import json, os, sys
import sloppy, packed
n = {}
exec(open(sys.argv[1]).read(), n)
folder = sys.argv[2]
first = n['probe']()
for name in ('sloppy', 'packed'):
    os.rename(f'{folder}/{name}-1.0.post1.dist-info', f'{folder}/{name}-2.0.post1.dist-info')
open(f'{folder}/sloppy.py', 'w').write("__version__ = '2.0'")
open(f'{folder}/packed/_version.py', 'w').write("version = '2.0'")
print(json.dumps([json.loads(first), json.loads(n['probe']())]))
"""


def test_a_module_that_tells_another_version_than_its_distribution_runs_what_is_installed(tmp_path):
    (tmp_path / "packed").mkdir()
    files = {"sloppy.py": "__version__: str = '1.0'", "packed/_version.py": "version = __version__ = '1.0'"}
    files["packed/__init__.py"] = "from packed._version import __version__"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in ("sloppy", "packed"):
        distribution(tmp_path, name, "1.0.post1")
    time.sleep(2.1)  # what is installed after a process started may not be what it runs
    first, second = run(
        interpreters()["3.11"], "-c", _UPGRADE_OF_A_SLOPPY_ONE, str(PROBE), str(tmp_path), path=tmp_path
    )
    for name in ("sloppy", "packed"):
        assert first["loaded"][name] == ["1.0.post1", "loaded"]
        # And what a later upgrade has left behind is seen.
        assert second["loaded"][name][0] in ("1.0", "1.0.post1")


_EVIL = """
import sys, types
class Evil(types.ModuleType):
    def __getattr__(self, name): raise SystemExit('ran code of a module')
    @property
    def __dict__(self): raise RuntimeError
sys.modules['evil'] = Evil('evil')
sys.modules['number'] = 7
sys.path.append(None)
"""


def test_hostile_modules_are_not_run():
    reading = run(interpreters()["3.11"], "-c", _EVIL + _RUN, str(PROBE))
    assert "error" not in reading
    assert "python" in reading


_PREFIX = "import sys; sys.prefix = sys.argv[2]; "


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_records_of_conda_are_read_without_their_secrets(minor, tmp_path):
    folder = tmp_path / "conda-meta"
    folder.mkdir()
    channel = "https://me:secret@host/t/token-1234/acme"
    files = ["lib/" + "x" * 200] * 1000
    for name, build in (("openssl-3.3.1-h1_0", "h1_0"), ("python-dateutil-2.9.0-py311_0", "py311_0")):
        text = json.dumps({"build": build, "channel": channel, "files": files, "subdir": "linux-64"}, sort_keys=True)
        (folder / f"{name}.json").write_text(text)
    (folder / "history").write_text("==> 2026 <==")
    (folder / "odd.json").write_text("{")
    reading = run(interpreters()[minor], "-c", _PREFIX + _RUN, str(PROBE), str(tmp_path))
    assert [(r["name"], r["version"], r["build"]) for r in reading["conda"]] == [
        ("openssl", "3.3.1", "h1_0"),
        ("python-dateutil", "2.9.0", "py311_0"),
    ]
    assert all("secret" not in r["channel"] and "1234" not in r["channel"] for r in reading["conda"])
    assert all(r["channel"].endswith("acme") for r in reading["conda"])


# Run where py-rattler, which conda's tools for Rust are made of, is installed: makes a channel, and a prefix from it.
_CONDA = """
import asyncio, hashlib, io, json, pathlib, sys, tarfile
import rattler
from rattler.index import index_fs

root = pathlib.Path(sys.argv[1])

def build(name, version, build, subdir, depends=(), files={}, links={}, **more):
    index = dict(name=name, version=version, build=build, build_number=0, depends=list(depends), subdir=subdir, **more)
    kinds = [(path, "hardlink", text.encode()) for path, text in files.items()]
    kinds += [(path, "softlink", pathlib.Path(to).read_bytes()) for path, to in links.items()]
    paths = [
        {"_path": path, "path_type": kind, "sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
        for path, kind, data in kinds
    ]
    info = {
        "info/index.json": json.dumps(index),
        "info/files": "".join(f"{path}\\n" for path, *_ in kinds),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
    }
    if more:
        info["info/link.json"] = json.dumps({"noarch": {"type": "python"}, "package_metadata_version": 1})
    folder = root / "channel" / subdir
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}-{version}-{build}.tar.bz2", "w:bz2") as archive:
        for path, text in {**info, **files}.items():
            member = tarfile.TarInfo(path)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        for path, to in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)

python, version = sys.argv[2:4]
minor = version.rpartition(".")[0]
# A list of files that is longer than what is read of a record.
build("openssl", "3.3.1", "h1_0", "linux-64", files={f"share/{'x' * 100}{number}": "" for number in range(500)})
# The interpreter is this machine's; in the prefix it is that prefix's.
build("python", version, "h2_1_cpython", "linux-64", ["openssl"],
      {"pyvenv.cfg": f"home = {pathlib.Path(python).parent}\\ninclude-system-site-packages = false\\n"}, {"bin/python": python})
info = "site-packages/iniconfig-2.0.0.dist-info/"
build("iniconfig", "2.0.0", "pyhd8ed1ab_0", "noarch", ["python"],
      {"site-packages/iniconfig.py": "", info + "METADATA": "Name: iniconfig\\nVersion: 2.0.0\\n", info + "INSTALLER": "conda"},
      noarch="python")

async def main():
    await index_fs(root / "channel")
    channel = (root / "channel").as_uri()
    records = await rattler.solve([channel], ["iniconfig"], platforms=["linux-64", "noarch"])
    await rattler.install(records, root / "prefix", cache_dir=root / "cache", show_progress=False)

asyncio.run(main())
"""


@pytest.mark.nightly
@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_a_prefix_that_condas_own_tools_have_solved_and_installed_is_read(minor, tmp_path):
    truth = "import json, os, platform, sys; print(json.dumps([os.path.realpath(sys.executable), platform.python_version()]))"
    executable, version = run(interpreters()[minor], "-c", truth)
    solver = environment(sys.executable, "py-rattler>=0.28,<0.29")
    subprocess.run([solver, "-c", _CONDA, str(tmp_path), executable, version], check=True)
    prefix = tmp_path / "prefix"
    assert (prefix / "conda-meta/history").exists()
    reading = run(str(prefix / "bin/python"), "-c", _RUN, str(PROBE))
    channel = (tmp_path / "channel").as_uri()
    assert [(r["name"], r["version"], r["build"], r["channel"].rstrip("/"), r["noarch"]) for r in reading["conda"]] == [
        ("iniconfig", "2.0.0", "pyhd8ed1ab_0", channel, True),
        ("openssl", "3.3.1", "h1_0", channel, False),
        ("python", version, "h2_1_cpython", channel, False),
    ]
    (package,) = reading["packages"]
    assert (package["name"], package["version"], package["installer"]) == ("iniconfig", "2.0.0", "conda")
    assert reading["python"] == version
    assert reading["problems"] == []
    decoded = {p.name: (p.version, p.build, p.channel) for p in decode_reading(json.dumps(reading)).packages}
    builds = {r["name"]: (r["version"], r["build"], r["channel"]) for r in reading["conda"]}
    assert decoded == {name: builds[name] for name in ("iniconfig", "openssl")}


_KEYS = """
import json, os, sys
n = {}
exec(compile(open(sys.argv[1], 'rb').read(), 'probe', 'exec'), n)
first = n['keys']()
import time
again = n['keys']()
name = sys.argv[2] + '/later-1.0.dist-info'
os.mkdir(name)
open(name + '/METADATA', 'w').write('Name: later')
second = n['keys']()
os.remove(sys.argv[2] + '/early-1.0.dist-info/RECORD')
third = n['keys']()
import colorsys
fourth = n['keys']()
print(json.dumps([first, again, second, third, fourth]))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_keys_change_with_what_is_installed_only(minor, tmp_path):
    distribution(tmp_path, "early", "1.0", REQUESTED="")
    first, again, second, third, fourth = run(
        interpreters()[minor], "-c", _KEYS, str(PROBE), str(tmp_path), path=tmp_path
    )
    assert first == again
    assert first != second
    assert second != third
    assert third == fourth


_FINGERPRINTS = """
import json, os, sys
n = {}
exec(compile(open(sys.argv[1], 'rb').read(), 'fingerprint', 'exec'), n)
first = n['keys']()
os.rename(sys.argv[2] + '/early-1.0.dist-info', sys.argv[2] + '/early-2.0.dist-info')
second = n['keys']()
import early
third = n['keys']()
print(json.dumps([first, second, third, len(n['HISTORY'])]))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_fingerprints_tell_installed_from_imported(minor, tmp_path):
    distribution(tmp_path, "early", "1.0")
    (tmp_path / "early.py").write_text("")
    fingerprint = PROBE.with_name("fingerprint.py")
    first, second, third, kept = run(
        interpreters()[minor], "-c", _FINGERPRINTS, str(fingerprint), str(tmp_path), path=tmp_path
    )
    assert first.split()[0] != second.split()[0]
    # A new process would have what this one hasn't seen: they don't share an answer.
    assert first.split()[1] != second.split()[1]
    assert second.split()[0] == third.split()[0]
    assert second.split()[1] != third.split()[1]
    assert kept == 3


_AGAIN = """
import json, os, sys, shutil, time
n = {}
exec(compile(open(sys.argv[1], 'rb').read(), 'fingerprint', 'exec'), n)
folder = sys.argv[2]
def install(name):
    time.sleep(1.2)
    shutil.rmtree(f'{folder}/{name}-1.0.dist-info')
    os.mkdir(f'{folder}/{name}-1.0.dist-info')
def imports(name):
    sys.modules.pop(name, None)
    __import__(name)
for act in json.loads(sys.argv[3]):
    n['keys']() if act == 'look' else globals()[act[0]](act[1])
print(json.dumps(n['keys']().split()[1]))
"""


def test_fingerprints_tell_apart_who_imported_before_and_after_a_package_was_installed_again(tmp_path):
    """Processes that have imported the same do not share an answer unless they run the same."""
    ways = {
        "before": ["look", ["imports", "early"], "look", ["install", "early"]],
        "after": ["look", ["install", "early"], "look", ["imports", "early"]],
        "after another": ["look", ["install", "other"], "look", ["imports", "early"]],
        "unmet": [["imports", "early"], ["install", "early"]],
        "untouched": ["look", ["imports", "early"]],
        "untouched, at once": [["imports", "early"]],
    }
    told = {}
    for number, (way, acts) in enumerate(ways.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("early", "other"):
            distribution(folder, name, "1.0")
            (folder / f"{name}.py").write_text("")
        time.sleep(2.1)
        told[way] = run(
            interpreters()["3.11"],
            "-c",
            _AGAIN,
            str(PROBE.with_name("fingerprint.py")),
            str(folder),
            json.dumps(acts),
            path=folder,
        )
    assert told["untouched"] == told["untouched, at once"]
    assert len(set(told.values())) == 5


_TURNS = """
import json, os, sys
from coiled_jupyter import texts
def ask(verb, turn):
    return eval(texts.LOAD, texts.node_names(verb, turn))
def install(name):
    os.mkdir(sys.argv[1] + "/" + name + "-1.0.dist-info")
told = [ask("keys", "1")]
install("first")
told += [ask("keys", "1"), ask("keys", "2"), ask("keys", "")]
install("second")
told += [ask("keys", ""), ask("anew", "2"), ask("anew", "2")]
print(json.dumps(told))
"""


def test_workers_of_one_process_look_once_in_a_turn(tmp_path):
    distribution(tmp_path, "early", "1.0")
    told = run(sys.executable, "-c", _TURNS, str(tmp_path), path=tmp_path)
    assert told[0] == told[1]
    assert told[1] != told[2] == told[3]
    assert told[3] != told[4] == told[5] == told[6]


_FILES = """
import json, os, sys
probe, content = {}, {}
exec(open(sys.argv[1]).read(), probe)
exec(open(sys.argv[2]).read(), content)
content['_work'](probe['records'](), False, (), probe['forget'])
print(content['result']())
"""


def test_names_of_files_that_are_not_utf8_are_told_all_the_same(tmp_path):
    info = distribution(tmp_path, "odd", "1.0")
    (info / "RECORD").write_bytes(b"odd/\xff.py,sha256=x,3\nodd-1.0.dist-info/METADATA,,\n")
    content = tmp_path / "content"
    content.write_text(source("content"))
    done = subprocess.run(
        [interpreters()["3.11"], "-c", _FILES, str(PROBE), str(content)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    found = msgspec.json.decode(done.stdout, type=ReadContent)
    assert found.error is None
    assert found.packages["odd"].missing == (1, "odd/?.py")


_BROUGHT = """
import json, sys, types
n = {"__name__": "probe"}
exec(compile(open(sys.argv[1], "rb").read(), "probe", "exec"), n)
space = {}
n["baseline"](True, [space])
import coiled_jupyter
with coiled_jupyter.bringing():
    import msgspec
import iniconfig

def used():
    loaded = json.loads(n["probe"]())["loaded"]
    return sorted(name for name in ("msgspec", "iniconfig", "coiled-jupyter") if loaded.get(name, [None, False])[1])

found = [used()]
space["m"] = msgspec
found.append(used())
del space["m"]
for odd in (None, 5, {1}, frozenset({1, ()})):
    coiled_jupyter.BROUGHT = odd
    found.append(used())
coiled_jupyter.BROUGHT = frozenset({"msgspec", "coiled_jupyter"})
again = used()
sys.modules["coiled_jupyter"] = None
found.append(used())
found.append(again)
print(json.dumps(found))
"""


def test_what_our_own_package_has_imported_counts_only_where_the_user_names_it():
    done = subprocess.run(
        [sys.executable, "-c", _BROUGHT, str(PROBE)], capture_output=True, text=True, check=True, timeout=60
    )
    brought, named, *odd, again = json.loads(done.stdout)
    assert brought == again == ["iniconfig"]
    assert named == ["iniconfig", "msgspec"]
    # A module of somebody else's that has our name tells nothing.
    assert all("iniconfig" in found and "msgspec" in found for found in odd)


_NAMESPACE = """
import json, sys
n = {"__name__": "probe"}
exec(compile(open(sys.argv[1], "rb").read(), "probe", "exec"), n)
import acme.alpha, acme.deep.delta.part
print(json.dumps({p: v[1] for p, v in json.loads(n["probe"]())["loaded"].items() if p.startswith("acme")}))
"""


@pytest.mark.parametrize("minor", sorted({"3.8", "3.12"} & set(interpreters())))
def test_of_a_namespace_that_several_share_the_one_that_was_imported_is_in_use(minor, tmp_path):
    for name in ("alpha", "beta", "deep/delta", "deep/gamma"):
        own = name.replace("/", "_")
        info = distribution(tmp_path, f"acme_core_{own}", "1.0")
        files = [
            f"acme/{name}/__init__.py,,",
            f"acme/{name}/part/__init__.py,,",
            f"acme_core_{own}-1.0.dist-info/RECORD,,",
        ]
        (info / "RECORD").write_text("\n".join(files))
        (info / "top_level.txt").write_text("acme\n")
        module = tmp_path / "acme" / name / "part" / "__init__.py"
        module.parent.mkdir(parents=True)
        module.write_text("")
        (module.parents[1] / "__init__.py").write_text("")
    found = run(interpreters()[minor], "-c", _NAMESPACE, str(PROBE), path=tmp_path)
    assert found == {"acme-core-alpha": "loaded", "acme-core-deep-delta": "loaded"}


_NAMED = """
import json, sys
n = {"__name__": "probe"}
exec(compile(open(sys.argv[1], "rb").read(), "probe", "exec"), n)
space = {"In": [""]}
n["baseline"](True, [space])

def ran(cell):
    space["In"].append(cell)
    exec(cell, space)

def uses():
    found = json.loads(n["probe"]())["loaded"]
    return {name: found.get(name, [None, "no"])[1] for name in ("direct", "within", "value", "local", "other", "unused")}

ran("import direct, late_; from value import Thing, function\\nthing = Thing(); del Thing, function")
ran("def f():\\n    import unused\\n")
sys.path.append(sys.argv[2])
ran("import beside")
print(json.dumps([uses(), json.loads(n["probe"]())["named"]]))
"""


@pytest.mark.parametrize("minor", sorted({"3.8", "3.13"} & set(interpreters())))
def test_what_code_of_the_user_names_is_told_from_what_that_loads(minor, tmp_path):
    """In cells, in values of the session, and in code beside the notebook; `direct` loads `other`."""
    sources = {
        "direct": "import other",
        "value": "class Thing: pass\ndef function(): pass",
        "local": "",
        "other": "",
        "unused": "",
        "within": "",
        "late_": "",
    }
    for name, text in sources.items():
        info = distribution(tmp_path / "site-packages", name, "1.0")
        (info / "RECORD").write_text(f"{name}.py,,\n")
        (tmp_path / "site-packages" / f"{name}.py").write_text(text)
    work = tmp_path / "work"
    (work / "beside").mkdir(parents=True)
    (work / "beside" / "__init__.py").write_text("from . import part\n")
    (work / "beside" / "part.py").write_text("if True:\n    from local import *\n")
    found, named = run(interpreters()[minor], "-c", _NAMED, str(PROBE), str(work), path=tmp_path / "site-packages")
    assert found == {
        "direct": "imported",
        "within": "no",
        "value": "imported",
        "local": "imported",
        "other": "loaded",
        # A function of a cell names it, though nothing has loaded it yet.
        "unused": "imported",
    }
    assert "beside" in named


_CONDITIONS = """
import json, sys
n = {"__name__": "probe"}
exec(compile(open(sys.argv[1], "rb").read(), "probe", "exec"), n)
before = n["keys"]()
found = json.loads(n["probe"]())["conditions"]
import os, time
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
print(json.dumps([found, json.loads(n["probe"]())["conditions"]["TZ"], before != n["keys"]()]))
"""


@pytest.mark.parametrize("minor", sorted(interpreters()))
def test_what_results_depend_on_besides_code_is_told_but_no_secret(minor):
    env = {
        "PATH": os.environ["PATH"],
        "TZ": "Europe/Berlin",
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "7",
        "DASK_DATAFRAME__QUERY_PLANNING": "false",
        "DASK_ARRAY__API_TOKEN": "hidden-1",
        "DASK_ARRAY__STORE": "https://user:hidden-2@host/path",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "9s",
        "DASK_GATEWAY__ADDRESS": "somewhere",
    }
    command = [interpreters()[minor], "-O", "-c", _CONDITIONS, str(PROBE)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "hidden" not in done.stdout
    found, later, changed = json.loads(done.stdout)
    assert {name: found[name] for name in ("PYTHONOPTIMIZE", "PYTHONHASHSEED", "TZ", "LC_CTYPE")} == {
        "PYTHONOPTIMIZE": "1",
        "PYTHONHASHSEED": "7",
        "TZ": "CET+1/CEST+2",
        "LC_CTYPE": "utf-8",
    }
    settings = {name: value for name, value in found.items() if name.startswith("DASK_")}
    assert settings == {
        "DASK_DATAFRAME__QUERY_PLANNING": "false",
        "DASK_ARRAY__API_TOKEN": "set",
        "DASK_ARRAY__STORE": "set",
    }
    assert (later, changed) == ("JST+9", True)
