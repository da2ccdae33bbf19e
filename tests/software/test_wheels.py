"""Wheels for another place: the one that an installer there would take, fetched here, and only if the lock names it."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from coiled_jupyter.core.errors import Impossible, Unavailable
from coiled_jupyter.software import index as indexes
from coiled_jupyter.software import wheels
from coiled_jupyter.software.resolve import Target
from tests.index import Index, make_wheel

LINUX = Target(python="3.11.7", implementation="cpython", platform="linux", machine="x86_64", libc="glibc 2.36")
PASSWORD = "hunter22secret"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "data"


@pytest.fixture
def served(tmp_path):
    """An index behind a password that tells no sizes, and its options."""
    folder = tmp_path / "served"
    for tag in ("py3-none-any", "cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_28_x86_64"):
        make_wheel(folder, "cj_some", tag=tag)
    make_wheel(folder, "cj_some", tag="cp310-cp310-manylinux_2_17_x86_64")
    make_wheel(folder, "cj_some", tag="cp311-cp311-manylinux_2_39_x86_64")
    make_wheel(folder, "cj_windows", tag="cp311-cp311-win_amd64")
    index = Index(folder, f"me:{PASSWORD}")
    yield index, folder, indexes.parse(["--index-url", index.url])
    index.stop()


def locked(folder: Path, *names: str) -> str:
    lines = []
    for name in names:
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(f"{name}-*.whl"))]
        hashes = " \\\n".join(f"    --hash=sha256:{digest}" for digest in digests)
        lines.append(f"{name.replace('_', '-')}==1.0 \\\n{hashes}")
    return "\n".join(lines) + "\n"


def find(target: Target, lock: str, index: indexes.Index, **more) -> tuple[wheels.Remote, ...]:
    return asyncio.run(wheels.find(target, lock, index=index, **more))


def fetch(remote: wheels.Remote, index: indexes.Index) -> tuple[Path, str]:
    return asyncio.run(wheels.fetch(remote, index=index))


@pytest.mark.parametrize(
    ("python", "libc", "file"),
    [
        ("3.11.7", "glibc 2.36", "cj_some-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ("3.11.7", "glibc 2.17", "cj_some-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"),
        ("3.10.2", "glibc 2.36", "cj_some-1.0-cp310-cp310-manylinux_2_17_x86_64.whl"),
        ("3.12.0", "glibc 2.36", "cj_some-1.0-py3-none-any.whl"),
        ("3.11.7", "musl", "cj_some-1.0-py3-none-any.whl"),
    ],
)
def test_a_wheel_is_the_one_of_the_place(served, python, libc, file):
    _, folder, index = served
    place = Target(python=python, implementation="cpython", platform="linux", machine="x86_64", libc=libc)
    (remote,) = find(place, locked(folder, "cj_some"), index)
    assert (remote.name, remote.file, len(remote.hashes)) == ("cj-some", file, 5)
    assert PASSWORD not in remote.url
    (known,) = asyncio.run(wheels.sized([remote], index=index))
    assert known.size == (folder / file).stat().st_size
    path, digest = fetch(remote, index)
    assert (path.read_bytes(), digest) == (
        (folder / file).read_bytes(),
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def test_a_package_without_a_wheel_for_the_place_is_named_unless_it_is_one_of_ours(served):
    _, folder, index = served
    lock = locked(folder, "cj_some", "cj_windows")
    with pytest.raises(Impossible, match="cj-windows"):
        find(LINUX, lock, index)
    assert [remote.name for remote in find(LINUX, lock, index, without=["cj-windows"])] == ["cj-some"]
    assert find(LINUX, lock, index, without=["cj-windows", "cj-some"]) == ()


def test_what_was_fetched_is_there_until_it_is_damaged(served):
    server, folder, index = served
    (remote,) = find(LINUX, locked(folder, "cj_some"), index)
    path, _ = fetch(remote, index)
    asked = server.asked
    assert fetch(remote, index)[0] == path
    assert server.asked == asked
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert fetch(remote, index)[0].read_bytes() == whole
    assert server.asked == asked + 1


def test_another_file_than_the_lock_names_is_not_kept(served, data):
    _, folder, index = served
    (remote,) = find(LINUX, locked(folder, "cj_some"), index)
    make_wheel(folder, "cj_some", {"cj_some.py": "other\n"}, tag="cp311-cp311-manylinux_2_28_x86_64")
    with pytest.raises(Impossible, match=f"{remote.file} on the index isn't the file"):
        fetch(remote, index)
    assert list((data / "fetched").iterdir()) == []


def test_files_of_a_folder_of_this_machine_need_no_server(tmp_path):
    path = make_wheel(tmp_path / "links", "cj_some")
    index = indexes.parse(["--no-index", "--find-links", str(tmp_path / "links")])
    (remote,) = find(LINUX, locked(tmp_path / "links", "cj_some"), index)
    (known,) = asyncio.run(wheels.sized([remote], index=index))
    assert known.size == path.stat().st_size
    assert fetch(remote, index)[0].read_bytes() == path.read_bytes()


def test_a_server_that_has_gone_or_refuses_is_told_without_its_password(served, monkeypatch):
    server, folder, index = served
    monkeypatch.setattr(wheels, "PAUSES", (0.0,))
    (remote,) = find(LINUX, locked(folder, "cj_some"), index)
    with pytest.raises(Unavailable, match="its server answers 401"):
        fetch(remote, indexes.parse(["--index-url", server.url.replace(PASSWORD, "wrong")]))
    server.stop()
    try:
        with pytest.raises(Unavailable, match="can't be fetched by this computer: Connection refused") as caught:
            fetch(remote, index)
        assert PASSWORD not in str(caught.value)
        assert asyncio.run(wheels.sized([remote], index=index)) == (remote,)
    finally:
        server.start()


def test_another_host_is_not_sent_the_password():
    seen: list[str | None] = []

    class Away(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            if self.path.startswith("/away"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{elsewhere.server_address[1]}/file.whl")
            else:
                self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    first, elsewhere = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), Away) for _ in range(2))
    threads = [threading.Thread(target=each.serve_forever, daemon=True) for each in (first, elsewhere)]
    for thread in threads:
        thread.start()
    try:
        host = f"127.0.0.1:{first.server_address[1]}"
        remote = wheels.Remote(name="x", file="file.whl", url=f"http://{host}/away/file.whl", hashes=("0" * 64,))
        with pytest.raises(Unavailable, match="answers 404"):
            fetch(remote, indexes.parse(["--index-url", f"http://me:{PASSWORD}@{host}/simple"]))
    finally:
        for each, thread in zip((first, elsewhere), threads, strict=True):
            each.shutdown()
            each.server_close()
            thread.join()
    assert seen[0] is not None
    assert seen[1] is None
