"""Failures that really happen between environments that differ: the text that a person sees, the diff of both sides.

Client, scheduler and worker run in virtualenvs of their own, made once and kept between runs in a cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
import uv

from coiled_jupyter.core.compare.diff import compare
from coiled_jupyter.core.explain import explain, proven
from coiled_jupyter.core.groups import group, kernel_environment
from coiled_jupyter.core.times import now
from coiled_jupyter.texts import source
from tests.nightly import each_night
from tests.processes import free_port, wait_for
from tests.readings import decode_reading

CACHE = Path(os.environ.get("COILED_JUPYTER_TEST_CACHE") or Path.home() / ".cache" / "coiled-jupyter-tests")
TODAY = ("distributed==2026.8.0", "cloudpickle==3.1.2")
ENVIRONMENTS = {
    "notebook": ("3.11", (*TODAY, "numpy==2.4.6", "tabulate==0.9.0")),
    "numpy1": ("3.11", (*TODAY, "numpy==1.26.4")),
    "python312": ("3.12", (*TODAY, "numpy==2.4.6")),
    "old": ("3.10", ("distributed==2024.5.0", "cloudpickle==2.2.1")),
    "old311": ("3.11", ("distributed==2024.5.0", "cloudpickle==3.1.2")),
}
MARK = "=== what the client has ==="

CLIENT = f"""
import json, sys, traceback
address, body, probe = json.load(sys.stdin)
try:
    from distributed import Client
    client = Client(address, timeout=20)
    exec(compile(body, "analysis.py", "exec"))
except BaseException:
    traceback.print_exc()
sys.stderr.flush()
namespace = {{"__name__": "probe"}}
exec(probe, namespace)
print({MARK!r})
print(namespace["probe"](), flush=True)
# Closing takes long where the cluster is broken.
import os
os._exit(0)
"""
PROBE = "import sys; namespace = {'__name__': 'probe'}; exec(sys.stdin.read(), namespace); print(namespace['probe']())"


def interpreter(version: str) -> str | None:
    """Return a Python of this version: uv's own, one of pyenv's or one on PATH."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if found:
        return str(found[-1])
    done = subprocess.run([uv.find_uv_bin(), "python", "find", version], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def python_of(name: str) -> str:
    """Return the interpreter of an environment, made where it isn't there yet."""
    version, requirements = ENVIRONMENTS[name]
    base = interpreter(version)
    if base is None:
        pytest.skip(f"no Python {version} here, so pairs with {name} are left out")
    key = hashlib.sha256(json.dumps([base, requirements]).encode()).hexdigest()[:16]
    folder = CACHE / key
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for command in (
            [uv.find_uv_bin(), "venv", "--quiet", "--clear", "--python", base, str(folder)],
            [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", str(python), *requirements],
        ):
            subprocess.run(command, check=True)
        (folder / "complete").touch()
    return str(python)


def environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@contextlib.contextmanager
def cluster(python: str, folder: Path):
    """Run a scheduler and one worker below a nanny; yields the address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    log = folder / "log"
    scheduler = [
        python,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        address.split(":")[-1],
    ]
    worker = [python, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1", "--nthreads", "1"]
    started = []
    try:
        with log.open("wb") as out:
            for command in (
                [*scheduler, "--no-dashboard"],
                [*worker, "--no-dashboard", "--local-directory", str(folder)],
            ):
                started.append(
                    subprocess.Popen(command, cwd=folder, env=environ(), stdout=out, stderr=subprocess.STDOUT)
                )
        wait_for(lambda: "Starting worker compute stream" in log.read_text(errors="replace"), what="a worker")
        yield address
    finally:
        for process in started:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.kill()
            process.wait()


def failure(address: str, client: str, body: str):
    """Run `body` in a client of its own; return the text that it printed and its reading."""
    done = subprocess.run(
        [client, "-c", CLIENT], input=json.dumps([address, body, source("probe")]), env=environ(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=True,
    )  # fmt: skip
    text, _, rest = done.stdout.partition(MARK)
    return text, decode_reading(rest.strip().split("\n")[0])


def looked(environment):
    """As if the files had been looked at; these environments come from one index."""
    return msgspec.structs.replace(environment, content_at=environment.taken_at)


def explained(text: str, kernel, python: str):
    probed = subprocess.run(
        [python, "-c", PROBE], input=source("probe"), env=environ(), capture_output=True, text=True, check=True
    )
    reading = decode_reading(probed.stdout)
    at = now()
    diff = compare(
        looked(kernel_environment(kernel, "k", at)),
        [
            *map(looked, group({"s": reading}, "scheduler", taken_at=at)),
            *map(looked, group({"w": reading}, "worker", taken_at=at)),
        ],
        cluster_id="c", cluster_name="c", kernel_id="k", kernel_label="k", at=at,
    )  # fmt: skip
    return explain(text, diff)


# What crosses to another Python is undefined: nearly every call of this crashes, one may pass by luck.
CRASH = """
def f(x):
    import json
    found = []
    for i in range(10):
        try:
            found.append(json.dumps({"a": i, **{str(j): j for j in range(i)}}))
        except Exception as error:
            raise RuntimeError from error
    return found

for _ in range(20):
    client.run(f, 1)
"""
IMPORTS = "def f():\n    import tabulate\n    return 1\nimport tabulate\nclient.submit(f).result(timeout=30)"
ATTRIBUTE = "def f():\n    import numpy\n    return numpy.unstack\nclient.submit(f).result(timeout=30)"
# (environment of the cluster, of the client, what the client does, what explains it: the basis, names, a part of the text)
FAILURES = {
    "array": ("numpy1", "notebook", "import numpy as np\nclient.submit(np.sum, np.ones(3)).result(timeout=30)",
              "named", ["numpy"], "numpy._core"),
    "missing": ("numpy1", "notebook", IMPORTS, "named", ["tabulate"], "No module named"),
    "attribute": ("numpy1", "notebook", ATTRIBUTE, "named", ["numpy"], "has no attribute"),
    "own fault": ("numpy1", "notebook", "client.submit(lambda: 1 / 0).result(timeout=30)", "none", [], "ZeroDivision"),
    "warning": ("numpy1", "notebook", "pass", "warned", ["numpy"], "VersionMismatchWarning"),
    "connect": ("old", "notebook", "pass", "named", ["distributed"], "identity()"),
    "cancelled": ("notebook", "old", "client.submit(sum, [1, 2]).result(timeout=30)", "fits", ["dask", "distributed"],
                  "CancelledError"),
    "newer code": ("old", "old311", "client.run(lambda: 1)", "named", ["python"], "code expected at most"),
    "older code": ("old311", "old", "client.submit(lambda x: x, 1).result(timeout=30)", "named", ["python"],
                   "code() argument"),
    "crash": ("python312", "notebook", CRASH, "fits", ["python"], "CommClosedError"),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="how processes crash and are named was only seen on Linux")
@pytest.mark.parametrize("name", each_night(FAILURES, ("crash", "missing", "array")))
def test_a_real_failure_is_explained_by_the_right_rows(name, tmp_path):
    there, here, body, basis, rows, part = FAILURES[name]
    server, client = python_of(there), python_of(here)
    with cluster(server, tmp_path) as address:
        text, kernel = failure(address, client, body)
    assert part in text
    made = explained(text, kernel, server)
    assert (made.basis, sorted(cause.row.name for cause in made.causes)) == (basis, rows), (made.text, text)
    # A failure that names its cause shows that it makes tasks fail.
    assert sorted(proven(made, text)) == (rows if basis == "named" and name != "connect" else [])


def test_equal_environments_explain_nothing(tmp_path):
    python = python_of("notebook")
    with cluster(python, tmp_path) as address:
        text, kernel = failure(address, python, "client.submit(lambda: [][1]).result(timeout=30)")
    assert "IndexError" in text
    made = explained(text, kernel, python)
    assert (made.basis, made.causes, made.verdict) == ("none", (), "equal")
