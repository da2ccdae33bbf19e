"""The map of imports of 300 distributions, beside asking for, or hashing, each of the same files once."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from coiled_jupyter.texts import source

from .table import Figure, median

COUNT = 300
FILES = 100
"""Of each distribution; as large as those of numpy, pandas, scipy and their like on the average."""
SIZE = 8000
_LOOK = """
import asyncio, json, os, sys, time
probe, content = {"__name__": "probe"}, {"__name__": "content"}
texts = json.load(sys.stdin)
exec(texts["probe"], probe)
exec(texts["content"], content)
content["NICE"] = int(sys.argv[1])
probe["keys"]()
look = lambda: content["look"](probe["records"], "key", True, (), probe["forget"])
delays = []

async def beats():
    # What a worker's own loop would notice of it.
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.005)
        delays.append(time.perf_counter() - begun - 0.005)

async def go():
    beating = asyncio.create_task(beats())
    await asyncio.sleep(0.5)
    idle = max(delays)
    delays.clear()
    start = time.perf_counter()
    while not look():
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - start - 0.2  # a reading that was requested goes first
    busy = max(delays)
    beating.cancel()
    return seconds, idle, busy

seconds, idle, busy = asyncio.run(go())
found = json.loads(content["result"]())
odd = [name for name, entry in found["packages"].items() if list(entry) != ["content"]]
watched = dict(content["_WATCHED"])
start = time.perf_counter()
for path in watched:
    try:
        os.stat(path)
    except OSError:
        pass
stats = time.perf_counter() - start
start = time.perf_counter()
content["_glance"](probe["records"](), True, (), probe["forget"])
glance = time.perf_counter() - start
print(seconds, idle, busy, glance, stats, len(found["packages"]), len(odd), found.get("error"))
"""
_ONCE = """
import hashlib, os, sys, time
names = [os.path.join(f, n) for root in sys.argv[1:] for f, _, names in os.walk(root) for n in names]
names = [name for name in names if not name.endswith(".pyc")]
start = time.perf_counter()
for name in names:
    os.stat(name)
stats = time.perf_counter() - start
start = time.perf_counter()
for name in names:
    with open(name, "rb") as file:
        hashlib.sha256(file.read()).digest()
print(stats, time.perf_counter() - start, len(names))
"""


def _install(site: Path, name: str, *, edited: bool) -> None:
    """Write a distribution as an installer does, the RECORD last; where it was `edited`, one file after it."""
    text = f"# {name}\n" + "value = 1  # words of code\n" * (SIZE // 27)
    lines = []
    (site / name).mkdir()
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("uv\n")
    for number in range(FILES):
        data = f"{text}{number}\n".encode()
        module = f"m{number}.py" if number else "__init__.py"
        (site / name / module).write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name}/{module},sha256={digest},{len(data)}\n")
    (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))
    if edited:
        (site / name / "__init__.py").write_text("other = 1\n")


def _seconds(python: Path, script: str, *arguments: str, text: str = "", cache: str = "") -> list[str]:
    env = {**os.environ, "COILED_JUPYTER_CACHE_DIR": cache} if cache else None
    command = [python, "-c", script, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, env=env)
    return done.stdout.split()


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of a look in a fresh process, with and without what earlier looks have kept, and of a glance."""
    texts = json.dumps({name: source(name) for name in ("probe", "content")})
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        subprocess.run(
            [str(Path(sys.executable).with_name("uv")), "venv", "-q", "--python", sys.executable, str(venv)], check=True
        )
        python, site = venv / "bin" / "python", next(venv.glob("lib/python*/site-packages"))
        for number in range(COUNT):
            _install(site, f"package_{number:03}", edited=number == 7)
        library = sysconfig.get_path("stdlib")
        # A file that has just been written may change again without another time, and isn't kept.
        time.sleep(3)
        cold, kept, idle, busy, glances, tops, stats, hashes = ([] for _ in range(8))
        for _ in range(min(rounds, 3) + 1):
            once = _seconds(python, _ONCE, str(site), library)
            stats.append(float(once[0]))
            hashes.append(float(once[1]))
            cache = tempfile.mkdtemp(dir=folder)
            for times in (cold, kept):
                *figures, found, odd, error = _seconds(python, _LOOK, "0", text=texts, cache=cache)
                if (int(found), int(odd), error) != (COUNT, 1, "None"):
                    raise SystemExit(f"the look found {found} packages, {odd} edited, {error}")
                times.append(float(figures[0]))
            # At the priority at which it runs beside a worker.
            *figures, found, odd, error = _seconds(python, _LOOK, "10", text=texts, cache=tempfile.mkdtemp(dir=folder))
            for times, figure in zip((idle, busy, glances, tops), figures[1:], strict=True):
                times.append(float(figure))
    what = f"Map of {COUNT} distributions with {COUNT * FILES} files, and of Python's library"
    return [
        Figure(f"{what}: the first", median(cold[1:]), "one SHA-256 of each file", median(hashes[1:]), limit=1.3),
        Figure(
            f"{what}: again, with what was kept", median(kept[1:]), "one stat of each file", median(stats[1:]), limit=2
        ),
        Figure(
            "The same where nothing has changed",
            median(glances[1:]),
            "one stat of each top",
            median(tops[1:]),
            limit=1.5,
        ),
        Figure(
            "Longest delay of the process's own loop beside the first map",
            median(busy[1:]),
            "idle",
            median(idle[1:]),
            limit=1.5,
        ),
    ]
