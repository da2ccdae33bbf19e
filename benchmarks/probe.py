"""The probe in environments of 60, 300 and 1000 distributions, beside importlib.metadata and ``uv pip list``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from coiled_jupyter.texts import source

from .table import Figure, median

SIZES = (60, 300, 1000)
# As a node does it: the text is compiled anew; json and re are in any Dask process.
_PROBE = """
import json, os, re, sys, time
text = sys.stdin.read()
start = time.perf_counter()
names = {"__name__": "coiled_jupyter_probe"}
exec(text, names)
answer = names["probe"]()
seconds = time.perf_counter() - start
# A change is told by times, which are relied on once they are some seconds old.
names["_LAST"]["signature"] = names["_signature"]() or names["_LAST"]["signature"]
start = time.perf_counter()
names["keys"]()
print(seconds, time.perf_counter() - start, answer.count('"version"'))
"""
_METADATA = """
import json, os, re, sys, time
start = time.perf_counter()
import importlib.metadata as m
found = {d.metadata["Name"]: d.version for d in m.distributions()}
print(time.perf_counter() - start, len(found))
"""


def _environment(folder: Path, count: int) -> Path:
    """Make a virtualenv with `count` distributions as an installer leaves them, of sizes as on a real machine."""
    venv = folder / f"of-{count}"
    subprocess.run([_uv(), "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    for index in range(count):
        name = f"package_{index:04}"
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("")
        info = site / f"{name}-1.{index}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{index}\n" + "Classifier: Topic :: X\n" * 15
        text += "".join(f"Requires-Dist: package_{other:04}\n" for other in range(index % 9)) + "\n" + "words " * 800
        (info / "METADATA").write_text(text)
        (info / "INSTALLER").write_text("uv\n")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\n")
        (info / "RECORD").write_text("".join(f"{name}/m{n}.py,sha256=x,{n}\n" for n in range(30)))
    return venv / "bin" / "python"


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of a full probe in a fresh process, beside each of the others."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for count in SIZES:
            python = _environment(Path(folder), count)
            ours, checks, metadata, uv = [], [], [], []
            # Folders that have just changed are looked at anew, whatever their times.
            time.sleep(2.5)
            for _ in range(rounds + 1):
                done = subprocess.run(
                    [python, "-c", _PROBE], input=source("probe"), capture_output=True, text=True, check=True
                )
                seconds, check, found = done.stdout.split()
                if int(found) < count:
                    raise SystemExit(f"the probe found {found} of {count}")
                ours.append(float(seconds))
                checks.append(float(check))
                done = subprocess.run([python, "-c", _METADATA], capture_output=True, text=True, check=True)
                metadata.append(float(done.stdout.split()[0]))
                start = time.perf_counter()
                command = [_uv(), "pip", "list", "-q", "--format", "json", "--python", str(python)]
                subprocess.run(command, capture_output=True, check=True)
                uv.append(time.perf_counter() - start)
            what = f"Probe of {count} distributions, the whole reading"
            mine = median(ours[1:])
            figures.append(Figure(what, mine, "`uv pip list`", median(uv[1:]), limit=1.0 if count >= 300 else None))
            figures.append(Figure(what, mine, "`importlib.metadata`, names and versions", median(metadata[1:])))
            if count == 1000:
                figures.append(Figure("Whether 1000 distributions are unchanged", median(checks[1:]), limit=0.006))
    return figures
