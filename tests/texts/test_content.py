"""What somebody else named in a RECORD or put into a tree is looked at without waiting, or named with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from uv import find_uv_bin

from coiled_jupyter.configuration import Configuration
from coiled_jupyter.core.wire import ClusterAttach
from coiled_jupyter.service.facade import Service
from coiled_jupyter.texts import source
from tests.environments import environment
from tests.fakes import InterpreterKernels
from tests.links.test_kernel import readable, specs, with_kernel  # noqa: F401 - a fixture
from tests.patience import deadline
from tests.remote import RemoteCluster
from tests.texts.test_probe import interpreters


def distribution(folder: Path, name: str, version: str = "1.0") -> tuple[Path, Path]:
    """Return the metadata and the only file of a distribution whose RECORD is true, and older than its file."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    (about / "RECORD").write_text(f"{name}.py,sha256=abc,5\n{name}-{version}.dist-info/RECORD,,\n")
    (about / "INSTALLER").write_text("pip\n")
    return about, folder / f"{name}.py"


def trap(folder: Path) -> dict[str, str]:
    """Make a distribution for each thing that isn't a file; return for each what its problem says."""
    said = {}
    _, file = distribution(folder, "piped")
    os.mkfifo(file)
    said["piped"] = f"{file} is a pipe, not a file"
    _, file = distribution(folder, "endless")
    file.symlink_to("/dev/zero")
    said["endless"] = f"{file} is a device, not a file"
    _, file = distribution(folder, "socketed")
    # The path of a socket is limited.
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(file.name)
    said["socketed"] = f"{file} is a socket, not a file"
    _, file = distribution(folder, "foldered")
    file.mkdir()
    said["foldered"] = f"{file} is a folder, not a file"
    _, file = distribution(folder, "sparse")
    with file.open("wb") as stream:
        stream.truncate(1 << 42)
    said["sparse"] = f"{file} is larger than 16 GiB"
    about, _ = distribution(folder, "recorded")
    (about / "RECORD").unlink()
    os.mkfifo(about / "RECORD")
    said["recorded"] = f"{about / 'RECORD'} is a pipe, not a file"
    about, file = distribution(folder, "described")
    file.write_text("")
    (about / "METADATA").unlink()
    (about / "METADATA").symlink_to("/dev/zero")
    said["described"] = f"{about / 'METADATA'} is a device, not a file"
    # A tree that leads back into itself, with a pipe in it.
    about, _ = distribution(folder, "looping")
    tree = folder.parent / "tree"
    (tree / "looping").mkdir(parents=True)
    (tree / "looping" / "__init__.py").write_text("")
    (tree / "looping" / "again").symlink_to(tree, target_is_directory=True)
    (about / "RECORD").write_text("__editable__.looping.pth,,\n")
    (folder / "__editable__.looping.pth").write_text(f"{tree}\n")
    (about / "direct_url.json").write_text(f'{{"url": "{tree.as_uri()}", "dir_info": {{"editable": true}}}}')
    return said


def problems(reading) -> dict[str, str]:
    return {p.package: p.where for p in reading.problems if p.kind == "unreadable" and p.package}


@pytest.mark.parametrize("minor", sorted({"3.8", "3.11"} & set(interpreters())))
def test_what_is_no_file_is_named_and_never_waited_for(minor, tmp_path, monkeypatch):
    said = trap(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    async def read():
        return await InterpreterKernels({"k": (interpreters()[minor], ())}).read("k")

    reading = asyncio.run(read()).reading
    assert {name: problems(reading).get(name) for name in said} == said
    contents = {package.name: package.content for package in reading.packages}
    assert contents["looping"].startswith("pure:")
    assert [contents[name] for name in said] == [None] * len(said)


def test_a_real_kernel_names_them(specs, tmp_path, monkeypatch):  # noqa: F811
    said = trap(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    async def body(session, link):
        while (found := await readable(link, session.id)).content_age is None:
            await asyncio.sleep(0.1)
        return found.reading

    reading = with_kernel("python3", body, specs, monkeypatch)
    assert {name: problems(reading).get(name) for name in said} == said


def test_real_workers_name_them_in_what_could_not_be_read(tmp_path):
    said = trap(tmp_path / "site")
    python = environment(interpreters()["3.11"], "distributed==2026.8.0")

    async def go(remote: RemoteCluster):
        service = Service(Configuration())
        await service.start()
        cluster = await service.clusters.attach(msgspec.convert(remote.body(), ClusterAttach))
        try:
            end = deadline(90)
            while True:
                with contextlib.suppress(AssertionError):
                    diff = await service.comparing.diff(cluster.id)
                    reasons = {entry.reason for entry in diff.unread}
                    wanted = {f"Could not be read of {name}: {where}" for name, where in said.items()}
                    assert wanted <= reasons, (wanted - reasons, diff.unread)
                    return
                assert time.monotonic() < end, (said, diff.unread)
                await asyncio.sleep(0.3)
        finally:
            await service.clusters.delete(cluster.id)
            await service.close()

    with RemoteCluster(tmp_path / "remote", python, workers=1, extra={"PYTHONPATH": str(tmp_path / "site")}) as remote:
        asyncio.run(go(remote))


_WRITING = """
import json, sys, time, zlib, base64
sys.path.insert(0, "")
content = {"__name__": "content"}
exec(compile(open(sys.argv[1]).read(), "content", "exec"), content)

def look():
    return content["look"](lambda: [], "installed", True, (), lambda: None)

def until(done):
    end = time.monotonic() + 180
    while not done(look()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return look()

first = until(bool)
# The folder may have changed within a tick of its clock.
time.sleep(2.5)
first = until(bool)
seen = set()
for number in range(30):
    open("results-%d.csv" % number, "w").close()
    seen.add(look())
    time.sleep(0.1)
kept = "" not in seen
open("colorsys.py", "w").close()
until(lambda key: key != first)
print(json.dumps([kept, json.loads(content["result"]()) is None or until(bool) != first]))
"""


def test_what_a_notebook_writes_beside_itself_does_not_make_its_readings_unknown(tmp_path):
    """Results and checkpoints come into its folder all the time; a module that comes there is seen within seconds."""
    content = tmp_path / "content"
    content.write_text(source("content"))
    # An environment into whose folders nothing else here writes: not even what is compiled at its first import.
    own = tmp_path / "own"
    subprocess.run([find_uv_bin(), "venv", "-q", "--python", interpreters()["3.11"], str(own)], check=True)
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "COILED_JUPYTER_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [own / "bin" / "python", "-c", _WRITING, str(content)],
        cwd=work,
        env=env,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True]


def examined(space, asked: dict) -> dict:
    """Return what a look finds at some places."""
    _, _, text = space["_examine"]({"seconds": 300.0, **asked})
    return json.loads(text)


def test_what_another_release_has_kept_is_not_used(tmp_path, monkeypatch):
    """A digest may be written in another way there; the same file would differ from itself."""
    monkeypatch.setenv("COILED_JUPYTER_CACHE_DIR", str(tmp_path))
    space = {"__name__": "content"}
    exec(compile(source("content"), "content", "exec"), space)
    own = Path(space["_cache"]())
    assert examined(space, {"places": space["places"](), "local": False, "cache": str(own)})["packages"]
    others = [own.with_name(own.name.replace(own.stem.rpartition("-")[2], text)) for text in ("young", "old")]
    for other in others:
        other.write_text("{}")
    os.utime(others[1], (1, 1))
    space["IMPORTS"] += " "
    assert Path(space["_cache"]()) not in (own, *others)
    # Those that nobody uses any more are removed with the next ones that are kept.
    own.unlink()
    space["IMPORTS"] = space["IMPORTS"].strip()
    examined(space, {"places": space["places"](), "local": False, "cache": str(own)})
    assert [path.exists() for path in (own, *others)] == [True, True, False]


def test_of_a_new_environment_what_was_read_for_another_is_not_read_again_unless_others_may_write_it(tmp_path):
    """The standard library is that of every environment of a Python."""
    space = {"__name__": "content"}
    exec(compile(source("content"), "content", "exec"), space)
    space["NICE"] = 0
    places = space["places"]()
    for group in places["found"]:
        group["entries"] = [entry for entry in group.get("entries", ()) if entry["path"] in places["stdlib"]]

    def library(name: str) -> str:
        return examined(space, {"places": places, "local": False, "cache": str(tmp_path / name)})["library"]

    first = library("a-host-first-text.json")
    kept = tmp_path / "a-host-first-text.json"
    # As no file is: what is taken from there shows.
    kept.write_text(json.dumps(dict.fromkeys(json.loads(kept.read_text()), "planted")))
    assert library("a-host-second-text.json") != first
    assert library("a-host-third-later.json") == first
    kept.chmod(0o666)
    (tmp_path / "a-host-second-text.json").unlink()
    assert library("a-host-fourth-text.json") == first


@pytest.mark.nightly
def test_libraries_of_gigabytes_are_read_once_beside_the_process_and_never_again(tmp_path):
    """Three files of 1 GiB each, as those of torch and its like; the first is asked for again under another environment."""
    space = {"__name__": "content"}
    exec(compile(source("content"), "content", "exec"), space)
    package = tmp_path / "site" / "heavy"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for number in range(3):
        with (package / f"lib{number}.so").open("wb") as file:
            file.truncate(1 << 30)
            file.write(b"%d" % number)
    # What has just been written isn't kept.
    time.sleep(2.5)
    places = space["places"]()
    places["found"] = [{"kind": "path", "entries": [{"kind": "dir", "path": str(tmp_path / "site")}]}]
    places["sites"] = [str(tmp_path / "site")]

    def heavy(name: str) -> str:
        asked = {"places": places, "local": False, "cache": str(tmp_path / name), "names": True}
        return examined(space, asked)["names"]["heavy"]

    first = heavy("a-host-first-text.json")
    assert first
    kept = tmp_path / "a-host-first-text.json"
    digests = json.loads(kept.read_text())
    assert len(digests) == 4
    assert heavy("a-host-first-text.json") == first
    # As no file is: what is taken from there shows, and nothing was read for it.
    kept.write_text(json.dumps(dict.fromkeys(digests, "planted")))
    assert heavy("a-host-first-text.json") == heavy("a-host-second-text.json") != first
