"""The look at the files of 300 distributions, beside asking for, or hashing, each of the same files once."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from coiled_jupyter.texts import source

from .table import Figure, median

COUNT = 300
FILES = 100
"""Of each distribution; as large as those of numpy, pandas, scipy and their like on the average."""
SIZE = 8000
_LOOK = """
import json, os, sys, time
probe, content = {"__name__": "probe"}, {"__name__": "content"}
texts = json.load(sys.stdin)
exec(texts["probe"], probe)
exec(texts["content"], content)
records = probe["records"]
probe["keys"]()
start = time.perf_counter()
while not content["look"](records, "key", True, (), probe["forget"]):
    time.sleep(0.002)
seconds = time.perf_counter() - start
found = json.loads(content["result"]())
odd = [name for name, entry in found["packages"].items() if list(entry) != ["content"]]
print(seconds, len(found["packages"]), len(odd), found.get("error"))
"""
_ONCE = """
import hashlib, os, sys, time
names = [os.path.join(f, n) for f, _, names in os.walk(sys.argv[1]) for n in names if n.endswith(".py")]
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
        (site / name / f"m{number}.py").write_bytes(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name}/m{number}.py,sha256={digest},{len(data)}\n")
    (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))
    if edited:
        (site / name / "m0.py").write_text("other = 1\n")


def _seconds(python: Path, script: str, *arguments: str, text: str = "") -> list[str]:
    done = subprocess.run([python, "-c", script, *arguments], input=text, capture_output=True, text=True, check=True)
    return done.stdout.split()


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of a look in a fresh process: of files as installed, and of files that all seem touched since."""
    texts = json.dumps({name: source(name) for name in ("probe", "content")})
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder, "venv")
        subprocess.run(
            [str(Path(sys.executable).with_name("uv")), "venv", "-q", "--python", sys.executable, str(venv)], check=True
        )
        python, site = venv / "bin" / "python", next(venv.glob("lib/python*/site-packages"))
        for number in range(COUNT):
            _install(site, f"package_{number:03}", edited=number == 7)
        for touched in (False, True):
            if touched:
                # As where an environment was copied file by file: nothing but a hash shows that they are the same.
                for path in site.rglob("*.py"):
                    path.touch()
            ours, stats, hashes = [], [], []
            for _ in range(min(rounds, 3) + 1):
                seconds, found, odd, error = _seconds(python, _LOOK, text=texts)
                if (int(found), int(odd), error) != (COUNT, 1, "None"):
                    raise SystemExit(f"the look found {found} packages, {odd} edited, {error}")
                ours.append(float(seconds))
                once = _seconds(python, _ONCE, str(site))
                stats.append(float(once[0]))
                hashes.append(float(once[1]))
            what = f"Check of the {COUNT * FILES} files of {COUNT} distributions, " + (
                "all touched since installation" if touched else "as installed"
            )
            beside, other = ("one hash of each", hashes) if touched else ("one stat of each", stats)
            mine = median(ours[1:])
            figures.append(Figure(what, mine, limit=10.0))
            figures.append(Figure(what, mine, beside, median(other[1:])))
    return figures
