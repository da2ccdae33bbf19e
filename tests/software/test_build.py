"""Real environments, resolved and built by uv: named by their lock, reused, and never half built."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from coiled_jupyter.core.errors import Impossible
from coiled_jupyter.core.launch import BuildSpec
from coiled_jupyter.software import build as software

SMALL = ("dask==2026.3.0", "distributed==2026.3.0", "iniconfig==2.0.0")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data" / "software"


def locked(spec: BuildSpec) -> str:
    return asyncio.run(software.lock(spec))


def versions(built) -> dict[str, str]:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([built.interpreter, "-c", code], capture_output=True, text=True, check=True)
    return software.msgspec.json.decode(done.stdout)


def test_an_environment_is_what_its_lock_says_and_is_built_once(data):
    spec = BuildSpec(requirements=SMALL)
    text = locked(spec)
    assert "--hash=sha256:" in text
    first = asyncio.run(software.build(spec, text))
    assert versions(first)["iniconfig"] == "2.0.0"
    assert Path(first.prefix) == data / first.lock_hash
    marker = Path(first.prefix, software.MARKER)
    stamp = marker.stat().st_mtime_ns
    assert asyncio.run(software.build(spec, text)) == first
    assert marker.stat().st_mtime_ns == stamp
    other = asyncio.run(software.build(spec, text + "# another lock\n"))
    assert other.lock_hash != first.lock_hash


@pytest.mark.parametrize("harm", ["no marker", "broken marker", "no interpreter"])
def test_what_is_not_whole_is_built_anew(harm):
    spec = BuildSpec(requirements=SMALL)
    text = locked(spec)
    first = asyncio.run(software.build(spec, text))
    marker = Path(first.prefix, software.MARKER)
    if harm == "no marker":
        marker.unlink()
        Path(first.prefix, "leftover").write_text("")
    elif harm == "broken marker":
        marker.write_text("{")
    else:
        Path(first.interpreter).unlink()
    again = asyncio.run(software.build(spec, text))
    assert again.prefix == first.prefix
    assert not Path(first.prefix, "leftover").exists()
    assert versions(again)["iniconfig"] == "2.0.0"


def test_two_builds_at_once_make_one_environment():
    spec = BuildSpec(requirements=SMALL)
    text = locked(spec)

    async def both():
        return await asyncio.gather(software.build(spec, text), software.build(spec, text))

    first, second = asyncio.run(both())
    assert first == second
    assert versions(first)["iniconfig"] == "2.0.0"


def test_a_build_that_is_cancelled_leaves_nothing_that_counts(data):
    spec = BuildSpec(requirements=SMALL)
    text = locked(spec)

    async def cancelled():
        task = asyncio.create_task(software.build(spec, text))
        while not list(data.glob("*/pyvenv.cfg")):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    (prefix,) = [path for path in data.iterdir() if path.is_dir()]
    assert not (prefix / software.MARKER).exists()
    assert versions(asyncio.run(software.build(spec, text)))["iniconfig"] == "2.0.0"


def test_what_cannot_be_resolved_says_why():
    spec = BuildSpec(requirements=("iniconfig==99",), index_options=())
    with pytest.raises(Impossible) as caught:
        locked(spec)
    assert "iniconfig==99" in caught.value.message


def test_the_password_of_an_index_reaches_it_and_nobody_else(caplog):
    asked = []

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Authorization"))
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    seen.append(" ".join(process.cmdline()))
            self.send_error(404)

        def log_message(self, *_):
            pass

    seen: list[str] = []
    caplog.set_level("INFO")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        for options in (
            ("--default-index", f"http://me:hush-hush@{host}/simple"),
            (f"--index-url=http://me:hush-hush@{host}/simple",),
            ("--extra-index-url", f"http://me:hush-hush@{host}/a", "--index", f"http://me:hush-hush@{host}/b"),
            ("--no-index", f"--find-links=http://me:hush-hush@{host}/links"),
        ):
            del asked[:]
            with pytest.raises(Impossible) as caught:
                locked(BuildSpec(requirements=("no-such-package-at-all",), index_options=options))
            assert asked[-1] == "Basic " + base64.b64encode(b"me:hush-hush").decode()
            assert "hush-hush" not in caught.value.message
        server.shutdown()
        thread.join()
    assert any("pip compile" in line for line in seen)
    assert not [line for line in seen if "hush-hush" in line]
    assert "hush-hush" not in caplog.text


def test_sources_are_not_built_unless_allowed(tmp_path):
    # A name with no wheel for any interpreter would run its setup.py.
    folder = tmp_path / "index"
    folder.mkdir()
    project = tmp_path / "coiled_jupyter_trap-1.0"
    project.mkdir()
    (project / "setup.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='coiled-jupyter-trap', version='1.0')\n"
    )
    subprocess.run(
        ["tar", "czf", str(folder / "coiled_jupyter_trap-1.0.tar.gz"), "-C", str(tmp_path), "coiled_jupyter_trap-1.0"],
        check=True,
    )
    spec = BuildSpec(requirements=("coiled-jupyter-trap",), index_options=("--find-links", str(folder)))
    with pytest.raises(Impossible):
        locked(spec)
    assert not (tmp_path / "ran").exists()


def test_the_wished_python_is_used():
    from tests.environments import interpreters

    own = "{}.{}".format(*sys.version_info)
    other = next(minor for minor in sorted(interpreters()) if minor not in (own, "3.8", "3.9"))
    spec = BuildSpec(requirements=SMALL[2:], python=other)
    built = asyncio.run(software.build(spec, locked(spec)))
    done = subprocess.run([built.interpreter, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Python {other}.")
