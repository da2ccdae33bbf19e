"""What another place can hold: everything that can be, refused with uv's words what can't, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Impossible, Invalid, Unavailable
from coiled_jupyter.software import index, resolve, uv
from coiled_jupyter.software.resolve import Compiled, Target

LINUX = Target(python="3.11.7", implementation="cpython", platform="linux", machine="x86_64", libc="glibc 2.36")


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("COILED_JUPYTER_DATA_DIR", str(tmp_path / "data"))
    resolve.remembered.clear()
    return tmp_path / "data"


def run(hard, wishes, target=LINUX, *, options=(), **more) -> resolve.Resolution:
    return asyncio.run(resolve.resolve(target, hard, wishes, index=index.parse(options), **more))


def wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = (), tag: str = "py3-none-any") -> Path:
    path = folder / f"{name}-{version}-{tag}.whl"
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    told += "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{name}-{version}.dist-info/METADATA", told)
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


# ---- against the registry -----------------------------------------------------------------------------------------


def test_all_that_goes_together_is_one_lock_with_hashes():
    found = run(
        ["dask", "distributed"], ["dask==2026.3.0", "distributed==2026.3.0", "numpy==2.3.1", "iniconfig==2.0.0"]
    )
    assert found.refused == {}
    assert found.relaxed == ()
    assert {name: found.versions[name] for name in ("dask", "distributed", "numpy", "iniconfig")} == {
        "dask": "2026.3.0",
        "distributed": "2026.3.0",
        "numpy": "2.3.1",
        "iniconfig": "2.0.0",
    }
    pins = [line for line in found.lock.splitlines() if not line.startswith(" ")]
    assert pins == [f"{name}=={version} \\" for name, version in found.versions.items()]
    assert found.lock.count("--hash=sha256:") >= len(pins)


def test_of_two_that_conflict_the_more_important_is_had():
    found = run([], ["numpy==1.24.0", "pandas==2.3.1", "iniconfig==2.0.0", "pandas==2.2.0"])
    assert found.versions["numpy"] == "1.24.0"
    assert found.versions["iniconfig"] == "2.0.0"
    # Both go with that numpy; they don't go with each other.
    assert found.versions["pandas"] == "2.3.1"
    assert found.relaxed == ("pandas",)
    other = run([], ["pandas==2.3.1", "iniconfig==2.0.0", "numpy==1.20.0"])
    assert other.versions["pandas"] == "2.3.1"
    assert set(other.refused) == {"numpy"}
    assert "numpy==1.20.0" in other.refused["numpy"]
    assert other.relaxed == ("numpy",)


def test_what_is_refused_may_stay_as_it_was_and_what_is_left_open_is_as_a_hint_says():
    wishes = ["numpy==2.3.1", "iniconfig==99.0", "pywin32==306"]
    found = run(["numpy<2"], wishes, instead=["iniconfig==1.1.1", "numpy==1.26.4", "pywin32==305"])
    assert found.versions == {"numpy": "1.26.4", "iniconfig": "1.1.1"}
    assert set(found.refused) == {"numpy", "iniconfig", "pywin32"}
    assert "iniconfig==99.0" in found.refused["iniconfig"]
    found = run([], ["pandas==2.2.3", "iniconfig==2.0.0"], hints=["numpy==1.26.4", "pytz==2024.1", "toolz==1.0.0"])
    assert (found.versions["numpy"], found.versions["pytz"], found.refused) == ("1.26.4", "2024.1", {})
    assert "toolz" not in found.versions


def test_no_wheel_for_the_platform_and_no_such_package():
    found = run(["iniconfig"], ["pywin32==306", "iniconfig==2.0.0", "coiled-jupyter-no-such-thing==1.0"])
    assert found.versions == {"iniconfig": "2.0.0"}
    assert set(found.refused) == {"pywin32", "coiled-jupyter-no-such-thing"}
    assert "no wheels with a matching platform tag" in found.refused["pywin32"]
    assert "not found" in found.refused["coiled-jupyter-no-such-thing"]
    assert not found.refused["pywin32"].startswith("error")


def test_another_python():
    target = msgspec.structs.replace(LINUX, python="3.10.13")
    # That numpy is of Python 3.11 and later.
    found = run(["dask==2026.3.0"], ["numpy==2.3.1", "pandas==2.2.3", "iniconfig==2.0.0"], target)
    assert set(found.refused) == {"numpy"}
    assert found.relaxed == ("numpy",)
    assert found.versions["pandas"] == "2.2.3"
    assert found.versions["numpy"] < "2.3"


def test_another_machine_gets_its_own_wheels():
    target = msgspec.structs.replace(LINUX, machine="aarch64", libc="glibc 2.28")
    found = run([], ["numpy==2.3.1", "intel-openmp==2024.2.1"], target)
    # Intel's has wheels for x86 only.
    assert found.versions == {"numpy": "2.3.1"}
    assert set(found.refused) == {"intel-openmp"}
    assert set(run([], ["intel-openmp==2024.2.1"]).refused) == set()


def test_what_must_hold_and_cannot():
    with pytest.raises(Impossible) as caught:
        run(["distributed==0.0.9"], ["numpy==2.3.1"])
    assert caught.value.message.endswith("The package index has no distributed 0.0.9.")
    assert "distributed==0.0.9" in caught.value.data["details"]
    with pytest.raises(Impossible):
        run(["pywin32==306"], [])
    # What must hold is stronger than any wish.
    found = run(["iniconfig==2.0.0"], ["iniconfig==1.1.1"])
    assert found.versions == {"iniconfig": "2.0.0"}
    assert found.relaxed == ("iniconfig",)


def test_a_pre_release_is_had_where_it_is_wished_for_and_by_what_requires_it(tmp_path):
    wheel(tmp_path, "cj_base", "2.0rc1")
    wheel(tmp_path, "cj_top", "1.0", ("cj_base>=2.0rc1",))
    wheel(tmp_path, "cj_under", "1.0", ("cj_base>1",))
    links = ("--no-index", "--find-links", str(tmp_path))
    found = run([], ["cj-under==1.0", "cj-no-such==1", "cj-base==2.0rc1"], options=links)
    assert found.versions == {"cj-under": "1.0", "cj-base": "2.0rc1"}


def test_a_dead_index_is_said_within_the_deadline_and_hides_its_password(silent, caplog):
    caplog.set_level(logging.DEBUG)
    # Without its deadline it would end by the test's own.
    with pytest.raises(Unavailable) as caught:
        run([], ["numpy==2.3.1"], options=("--index-url", silent), deadline=2)
    assert "hunter22" not in caught.value.message + caught.value.hint + caplog.text


def test_an_index_that_is_not_there_refuses_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unavailable) as caught:
        run([], ["numpy==2.3.1", "iniconfig==2.0.0"], options=("--index-url", "http://me:hunter22@127.0.0.1:9/simple"))
    assert "127.0.0.1:9" in caught.value.message
    assert "hunter22" not in caught.value.message + caplog.text


@pytest.mark.parametrize(
    "line", ["numpy", "numpy>=1", "numpy==1,<2", "numpy==1.*", "numpy===x", 'numpy==1; python_version>"3"']
)
def test_a_wish_is_a_pin(line):
    with pytest.raises(Invalid) as caught:
        run([], [line])
    assert caught.value.field == "preferred[0]"


def test_hostile_lines_start_nothing(monkeypatch):
    monkeypatch.setattr(uv, "attempt", None)
    for line in ("--index-url=http://evil", "x @ file:///x", "x==1\n-e .", "x==1 --hash=sha256:0"):
        with pytest.raises(Invalid):
            run([], [line])
        with pytest.raises(Invalid):
            run([line], [])


# ---- wheels of ours -----------------------------------------------------------------------------------------------


def test_a_wheel_of_ours_is_taken_instead_of_the_registrys(tmp_path):
    # A changed copy of what the registry has under the same name and version, with a requirement of its own.
    path = wheel(tmp_path, "iniconfig", "2.0.0", ("cj_dep",))
    wheel(tmp_path, "cj_dep", "3")
    found = run([], ["iniconfig==2.0.0", "packaging==25.0"], find_links=tmp_path)
    assert found.versions == {"cj-dep": "3", "iniconfig": "2.0.0", "packaging": "25.0"}
    (entry,) = [part for part in found.lock.split("\n\n") if "iniconfig" in part]
    at = found.lock.splitlines().index("iniconfig==2.0.0 \\")
    assert found.lock.splitlines()[at + 1] == f"    --hash=sha256:{resolve._sha256(path)}"
    assert not found.lock.splitlines()[at + 2].startswith(" ")
    assert str(tmp_path) not in entry


def test_a_wheel_of_ours_that_does_not_fit_is_refused(tmp_path):
    wheel(tmp_path, "cj_old", "1.0", tag="cp38-cp38-win_amd64")
    (tmp_path / "cj_junk-1.0-py3-none-any.whl").write_bytes(b"junk")
    (tmp_path / "not a wheel.whl").write_bytes(b"junk")
    found = run([], ["cj-old==1.0", "cj-junk==1.0", "iniconfig==2.0.0"], find_links=tmp_path)
    assert found.versions == {"iniconfig": "2.0.0"}
    assert set(found.refused) == {"cj-old", "cj-junk"}


def test_the_lock_installs_our_wheel(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(folder, "iniconfig", "2.0.0")
    found = run([], ["iniconfig==2.0.0", "packaging==25.0"], find_links=folder)
    (tmp_path / "lock.txt").write_text(found.lock)

    async def install():
        await uv.run("venv", "--no-config", "--", str(tmp_path / "env"), cwd=tmp_path, deadline=60)
        python = str(tmp_path / "env/bin/python")
        sync = ("pip", "sync", "--no-config", "--require-hashes", "--python", python, "--", str(tmp_path / "lock.txt"))
        await uv.run(*sync, cwd=tmp_path, deadline=60, index=index.parse([]).with_links(folder))

    asyncio.run(install())
    (module,) = (tmp_path / "env").glob("lib/python*/site-packages/iniconfig.py")
    assert module.read_text() == "VERSION = '2.0.0'\n"


# ---- the target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "machine", "libc", "name"),
    [
        ("linux", "x86_64", "glibc 2.36", "x86_64-manylinux_2_36"),
        ("linux", "x86_64", "glibc 2.30", "x86_64-manylinux_2_28"),
        ("linux", "x86_64", "glibc 2.17", "x86_64-manylinux_2_17"),
        ("linux", "aarch64", "glibc 2.99", "aarch64-manylinux_2_40"),
        ("linux", "x86_64", "musl 1.2", "x86_64-unknown-linux-musl"),
        ("linux", "aarch64", "musl", "aarch64-unknown-linux-musl"),
        ("darwin", "arm64", "", "aarch64-apple-darwin"),
        ("win32", "AMD64", "", "x86_64-pc-windows-msvc"),
    ],
)
def test_platforms_that_uv_knows(platform, machine, libc, name):
    target = Target(python="3.11.7", implementation="cpython", platform=platform, machine=machine, libc=libc)
    assert resolve._platform(target) == name
    # uv takes the name: it has a wheel for each of these.
    assert run([], ["numpy==1.26.4"], target).refused == {}


@pytest.mark.parametrize(
    "change",
    [
        {"libc": "glibc 2.12"},
        {"libc": "glibc"},
        {"libc": ""},
        {"libc": "musl 1.1"},
        {"machine": "s390x"},
        {"platform": "--python-platform"},
        {"implementation": "pypy"},
        {"python": "2.7.18"},
        {"python": "3"},
        {"python": "3.11 --index-url=http://evil"[::-1]},
        {"python": "/bin/evil"},
        {"python": "3.11.7.1"},
        {"python": "\0" * 4096},
    ],
)
def test_targets_that_can_not_be_are_refused_in_words(change, monkeypatch):
    monkeypatch.setattr(uv, "attempt", None)
    with pytest.raises(Impossible) as caught:
        run([], ["numpy==2.3.1"], msgspec.structs.replace(LINUX, **change))
    assert len(caught.value.message) < 300


def test_no_interpreter_that_a_node_names_is_run_and_a_pre_release_of_python_is_its_version():
    assert resolve.python_version(msgspec.structs.replace(LINUX, python="3.14.0rc2")) == "3.14.0"
    assert resolve.python_version(msgspec.structs.replace(LINUX, python="3.10.13")) == "3.10.13"


# ---- remembered ---------------------------------------------------------------------------------------------------


class Counted:
    """uv itself, counted."""

    def __init__(self) -> None:
        self.runs = 0
        self.attempt = uv.attempt

    async def __call__(self, *argv, **more):
        self.runs += 1
        return await self.attempt(*argv, **more)


def test_the_same_again_costs_nothing_for_a_while(data, monkeypatch, tmp_path):
    counted = Counted()
    monkeypatch.setattr(uv, "attempt", counted)
    first = run([], ["iniconfig==2.0.0"])
    assert counted.runs == 1
    assert run([], ["iniconfig==2.0.0"]) == first
    resolve.remembered.clear()
    # From disk, as another process would.
    assert run([], ["iniconfig==2.0.0"]) == first
    assert counted.runs == 1
    (kept,) = (data / "locks").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    for change in (
        {"target": msgspec.structs.replace(LINUX, python="3.12.1")},
        {"options": ("--index", "https://me:hunter22@127.0.0.1:9/simple", "--no-index", "--find-links", str(tmp_path))},
    ):
        before = counted.runs
        run([], ["iniconfig==2.0.0"] if "target" in change else [], **change)
        assert counted.runs > before
    assert "hunter22" not in "".join(path.read_text() for path in (data / "locks").iterdir())
    wheel(tmp_path, "iniconfig", "2.0.0")
    assert run([], ["iniconfig==2.0.0"], find_links=tmp_path) != first


@pytest.mark.parametrize("harm", ["old", "of tomorrow", "broken", "unwritable"])
def test_what_is_not_fresh_and_whole_is_resolved_anew(harm, data, monkeypatch):
    counted = Counted()
    monkeypatch.setattr(uv, "attempt", counted)
    first = run([], ["iniconfig==2.0.0"])
    resolve.remembered.clear()
    (kept,) = (data / "locks").iterdir()
    if harm == "broken":
        kept.write_text("{")
    elif harm == "unwritable":
        kept.unlink()
        kept.mkdir()
    else:
        known = msgspec.json.decode(kept.read_bytes())
        known["at"] += 1e5 if harm == "of tomorrow" else -resolve.FRESH_SECONDS
        kept.write_bytes(msgspec.json.encode(known))
    assert run([], ["iniconfig==2.0.0"]) == first
    assert counted.runs == 2


# ---- admission, on a world that is known whole --------------------------------------------------------------------


class World:
    """A compiler over sets of lines that don't go together.

    Its words name what its `hint` says, which may be the cause, nothing, or something else; its preferences are kept
    as well as `skill` says.
    """

    def __init__(self, conflicts: list[frozenset[str]], hint: str, skill: str) -> None:
        self.conflicts = conflicts
        self.hint = hint
        self.skill = skill
        self.calls = 0

    def holds(self, lines) -> bool:
        return not any(conflict <= set(lines) for conflict in self.conflicts)

    async def __call__(self, lines, preferred=(), /) -> Compiled:
        self.calls += 1
        if not self.holds(lines):
            cause = next(conflict for conflict in self.conflicts if conflict <= set(lines))
            named = {"cause": sorted(cause), "nothing": [], "other": sorted(lines)[:1], "all": lines}[self.hint]
            return Compiled(None, "Because " + " and ".join(named))
        if preferred and self.skill == "fails":
            return Compiled(None, "Because " + preferred[-1])
        kept = list(lines)
        for line in preferred if self.skill != "backwards" else reversed(preferred):
            if self.skill != "none" and self.holds([*kept, line]):
                kept.append(line)
        return Compiled("\n".join(sorted(lines)), kept=frozenset(kept) & frozenset(preferred))


def admit(world: World, hard, wishes) -> resolve.Admitted:
    return asyncio.run(resolve.admit(world, hard, wishes))


LINES = [f"p{number}==1" for number in range(9)]
conflict_sets = st.lists(st.frozensets(st.sampled_from(LINES), min_size=1, max_size=3), max_size=6)


@settings(max_examples=400)
@given(
    conflicts=conflict_sets,
    hard=st.lists(st.sampled_from(LINES), max_size=2, unique=True),
    wishes=st.lists(st.sampled_from(LINES), max_size=9),
    hint=st.sampled_from(["cause", "nothing", "other", "all"]),
    skill=st.sampled_from(["good", "backwards", "none", "fails"]),
)
def test_admission_is_that_of_one_after_the_other(conflicts, hard, wishes, hint, skill):
    world = World(conflicts, hint, skill)
    if not world.holds(hard):
        with pytest.raises(Impossible):
            admit(world, hard, wishes)
        return
    expected: list[str] = []
    for wish in dict.fromkeys(wishes):
        if world.holds([*hard, *expected, wish]):
            expected.append(wish)
    found = admit(world, hard, wishes)
    assert list(found.accepted) == expected
    assert set(found.refused) == set(wishes) - set(expected)
    assert found.lock.split() == sorted({*hard, *expected}) or found.lock.split() == sorted([*hard, *expected])
    for line in found.refused:
        before = [wish for wish in expected if wishes.index(wish) < wishes.index(line)]
        assert not world.holds([*hard, *before, line])


def test_few_tries_are_needed():
    pins = [f"p{number}==1" for number in range(150)]
    assert world_calls([], pins) == 1
    # All, the bad one by itself, the rest.
    assert world_calls([frozenset([pins[70]])], pins) == 3
    bad = [pins[number] for number in range(3, 150, 9)]
    # All, without the first that is named, all as preferences, and the rest; each of the bad ones by itself.
    assert world_calls([frozenset([line]) for line in bad], pins) == len(bad) + 4
    pairs = [frozenset(pins[at : at + 2]) for at in (0, 2, 4)]
    assert world_calls(pairs, pins) <= 20


def world_calls(conflicts, wishes) -> int:
    world = World(conflicts, "cause", "good")
    admit(world, ["dask"], wishes)
    return world.calls
