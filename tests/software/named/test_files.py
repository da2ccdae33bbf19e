"""What files of requirements say, and what of them isn't taken."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.software.named.files import parse
from coiled_jupyter.software.named.references import Reference

PYTHON = "3.11.7"
UV_LOCK = """
version = 1
requires-python = ">=3.10"

[[package]]
name = "mine"
version = "0.1.0"
source = { editable = "." }
dependencies = [
    { name = "fancy", extra = ["more"] },
    { name = "colorama", marker = "sys_platform == 'win32'" },
    { name = "numpy", version = "2.2.6", source = { registry = "https://pypi.org/simple" }, marker = "python_full_version < '3.11'" },
    { name = "numpy", version = "2.4.6", source = { registry = "https://pypi.org/simple" }, marker = "python_full_version >= '3.11'" },
]

[[package]]
name = "fancy"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "base" }]
wheels = [{ url = "https://files/fancy.whl", hash = "sha256:aa", size = 1 }]

[package.optional-dependencies]
more = [{ name = "extra-part" }]

[[package]]
name = "base"
version = "3"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "fancy" }]

[[package]]
name = "extra-part"
version = "4"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "colorama"
version = "0.4.6"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "numpy"
version = "2.2.6"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "numpy"
version = "2.4.6"
source = { registry = "https://pypi.org/simple" }

[[package]]
name = "unused"
version = "1"
source = { git = "https://example.com/unused" }
"""
PYLOCK = """
lock-version = "1.0"
created-by = "test"

[[packages]]
name = "six"
version = "1.17.0"
wheels = [{ name = "six-1.17.0-py2.py3-none-any.whl", url = "https://files/six-1.17.0-py2.py3-none-any.whl", hashes = { sha256 = "abc" } }]

[[packages]]
name = "pywin32"
version = "311"
marker = "sys_platform == 'win32'"
wheels = [{ name = "pywin32-311-cp311-cp311-win_amd64.whl", url = "https://files/pywin32-311-cp311-cp311-win_amd64.whl", hashes = { sha256 = "def" } }]
"""
CONDA = """
name: analysis
channels: [conda-forge]
dependencies:
  - python=3.12
  - numpy=1.26
  - pandas==2.2.3
  - conda-forge::scipy>=1.10,<2
  - pytorch=2.4.*=cuda120_0
  - openssl
  - libblas=*=*openblas
  - pip
  - graphviz
  - pip:
      - rich>=13 ; python_version > "3.8"
"""


def lines(name: str, text: str, python: str = PYTHON) -> tuple[str, ...]:
    return parse(name, text, python).lines


def test_requirements():
    text = "# wanted\nnumpy == 2.4.6  # why\n\npandas[plot]>=2 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\nrich; sys_platform != 'x'\n"
    found = parse("folder/requirements.txt", text, PYTHON)
    assert found.lines == ("numpy==2.4.6", "pandas[plot]>=2", 'rich; sys_platform != "x"')
    assert found.hashes == {"pandas": frozenset({"sha256:aa", "sha256:bb"})}


@pytest.mark.parametrize(
    "line",
    [
        *("-r other.txt", "-e .", "--index-url=https://evil", "--pre", "git+https://x/y", "x @ https://e/x.whl"),
        *("./local", "name; import os", "a\x00b", "x" * 600, "x @ file:///etc/passwd", "-c c.txt", "/abs/x.whl"),
    ],
)
def test_what_would_be_fetched_or_run_is_refused_with_its_line(line):
    with pytest.raises(Invalid) as caught:
        parse("requirements.txt", f"six\n{line}\n", PYTHON)
    assert caught.value.field == "file.text"
    assert "Line 2" in caught.value.message


DIGEST = "0" * 64
COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("kind", "line", "reference"),
    [
        ("urls", "x @ https://e/x-1.whl", Reference(kind="urls", url="https://e/x-1.whl", name="x")),
        ("urls", f"https://e/x-1.tar.gz#sha256={DIGEST}",
         Reference(kind="urls", url="https://e/x-1.tar.gz", hashes=frozenset({DIGEST}))),
        ("urls", f"x[a,b] @ https://e/x-1.whl ; sys_platform != 'x' --hash=sha256:{DIGEST}",
         Reference(kind="urls", url="https://e/x-1.whl", name="x", extras="[a,b]", marker='; sys_platform != "x"',
                   hashes=frozenset({DIGEST}))),
        ("vcs", f"git+https://e/x.git@{COMMIT}#egg=x", Reference(kind="vcs", url="https://e/x.git", commit=COMMIT)),
        ("vcs", f"x @ git+ssh://git@e/x@{COMMIT}",
         Reference(kind="vcs", url="ssh://git@e/x", commit=COMMIT, name="x")),
        ("paths", "/abs/x-1.whl", Reference(kind="paths", url="file:///abs/x-1.whl")),
        ("paths", "-e /abs/x", Reference(kind="paths", url="file:///abs/x")),
        ("paths", "x @ file:///abs/x", Reference(kind="paths", url="file:///abs/x", name="x")),
    ],
)  # fmt: skip
def test_what_an_administrator_allows_is_taken_and_what_not_names_what_would_allow_it(kind, line, reference):
    with pytest.raises(Invalid) as caught:
        parse("requirements.txt", f"six\n{line}\n", PYTHON, allowed={"options", "paths", "urls", "vcs"} - {kind})
    assert "Line 2" in caught.value.message
    assert f"c.CoiledJupyter.allowed_in_files = ['{kind}']" in caught.value.hint
    found = parse("requirements.txt", f"six\n{line}\n", PYTHON, allowed=[kind])
    assert (found.lines, found.references, found.options) == (("six",), (reference,), ())


def test_options_about_indexes_are_taken_where_that_is_allowed_and_no_others_ever():
    with pytest.raises(Invalid) as caught:
        parse("requirements.txt", "--index-url https://e/simple", PYTHON, allowed=["urls"])
    assert "['options']" in caught.value.hint
    found = parse("a.txt", "six\n--index-url https://e/simple\n--no-index\n", PYTHON, allowed=["options"])
    assert (found.lines, found.options) == (("six",), ("--index-url https://e/simple", "--no-index"))
    pip = "dependencies: [numpy, {pip: [--extra-index-url=https://e/simple, 'x @ https://e/x.whl']}]"
    found = parse("environment.yml", pip, PYTHON, allowed=["options", "urls"])
    assert (found.options, [one.name for one in found.references]) == (("--extra-index-url=https://e/simple",), ["x"])
    for line, word in (
        *(("-r other.txt", "names another file"), ("--pre", "isn't an index option")),
        ("--index-url https://me:hunter22@e/simple", "credentials"),
    ):
        with pytest.raises(Invalid, match=word):
            parse("requirements.txt", line, PYTHON, allowed=["options", "paths", "urls", "vcs"])


@pytest.mark.parametrize(
    "line",
    ["./here", "x @ file:here", "~/x", "git+https://e/x", "git+https://e/x@main", f"hg+https://e/x@{COMMIT}",
     f"git+ssh://{COMMIT}@e/x", "https://e/page", "x @ https://e/x.exe", "file://host/x", "name; import os", "a\x00b"],
)  # fmt: skip
def test_what_is_not_one_thing_for_good_is_refused_though_its_kind_is_allowed(line):
    with pytest.raises(Invalid) as caught:
        parse("requirements.txt", line, PYTHON, allowed=["options", "paths", "urls", "vcs"])
    assert "Traceback" not in caught.value.message


def test_locks_name_what_comes_from_elsewhere():
    every = ["options", "paths", "urls", "vcs"]
    vcs = f'\n[[packages]]\nname = "x"\nvcs = {{ type = "git", url = "https://e/x", commit-id = "{COMMIT}" }}\n'
    archive = (
        f'\n[[packages]]\nname = "y"\narchive = {{ url = "https://e/y.whl", hashes = {{ sha256 = "{DIGEST}" }} }}\n'
    )
    folder = '\n[[packages]]\nname = "z"\ndirectory = { path = "/abs/z" }\n'
    found = parse("pylock.toml", PYLOCK + vcs + archive + folder, PYTHON, allowed=every)
    assert found.lines == ("six==1.17.0",)
    assert {(one.name, one.kind, one.url) for one in found.references} == {
        *(("x", "vcs", "https://e/x"), ("y", "urls", "https://e/y.whl"), ("z", "paths", "file:///abs/z")),
    }
    assert [one.hashes for one in found.references if one.name == "y"] == [frozenset({DIGEST})]
    text = UV_LOCK.replace('name = "fancy", extra', 'name = "unused", extra')
    text = text.replace("https://example.com/unused", f"https://example.com/unused?rev=main#{COMMIT}")
    (reference,) = parse("uv.lock", text, PYTHON, allowed=["vcs"]).references
    assert (reference.name, reference.url, reference.commit) == ("unused", "https://example.com/unused", COMMIT)


def test_pyproject():
    text = "[project]\nname='mine'\nrequires-python='>=3.10'\ndependencies=['numpy>=2', 'rich']\n"
    found = parse("pyproject.toml", text, PYTHON)
    assert (found.lines, found.pythons) == (("numpy>=2", "rich"), ">=3.10")
    for wrong in (
        *("[tool.poetry]\n", "[project]\ndynamic=['dependencies']\n", "[project]\ndependencies=['x @ https://e/x']\n"),
        *("[project]\ndependencies='numpy'\n", "project = 3\n", "[project", "[project]\nrequires-python='nonsense'\n"),
    ):
        with pytest.raises(Invalid):
            parse("pyproject.toml", wrong, PYTHON)


def test_pylock():
    found = parse("pylock.analysis.toml", PYLOCK, PYTHON)
    assert found.lines == ("six==1.17.0",)
    assert found.hashes == {"six": frozenset({"sha256:abc"})}
    with pytest.raises(Invalid, match="No wheel"):
        parse("pylock.toml", PYLOCK.replace("sys_platform == 'win32'", "sys_platform != 'win32'"), PYTHON)
    vcs = '\n[[packages]]\nname = "x"\nvcs = { type = "git", url = "https://e/x", commit-id = "a" }\n'
    with pytest.raises(Invalid, match="x comes from"):
        parse("pylock.toml", PYLOCK + vcs, PYTHON)


def test_uv_lock_gives_what_the_project_needs_here():
    found = parse("uv.lock", UV_LOCK, PYTHON)
    assert found.lines == ("base==3", "extra-part==4", "fancy==1.0", "numpy==2.4.6")
    assert [left.name for left in found.left_out] == ["mine"]
    assert found.hashes == {"fancy": frozenset({"sha256:aa"})}
    assert "numpy==2.2.6" in lines("uv.lock", UV_LOCK, "3.10.4")
    with pytest.raises(Invalid, match="unused comes from git"):
        parse("uv.lock", UV_LOCK.replace('name = "fancy", extra', 'name = "unused", extra'), PYTHON)


def test_conda_gives_what_has_a_place_on_pypi_and_names_the_rest():
    found = parse("environment.yml", CONDA, PYTHON)
    assert found.python == "3.12"
    assert found.lines == (
        *("numpy==1.26.*", "pandas==2.2.3", "scipy<2,>=1.10", "torch==2.4.*"),
        'rich>=13; python_version > "3.8"',
    )
    assert [left.name for left in found.left_out] == [
        "pytorch, build cuda120_0",
        "openssl",
        "libblas",
        "pip",
        "graphviz",
    ]
    for wrong in ("- a", "dependencies: numpy", "dependencies: [{pip: [-r x.txt]}]", "a: !!python/object:os.system x"):
        with pytest.raises(Invalid):
            parse("environment.yml", wrong, PYTHON)


@given(
    st.text(max_size=300),
    st.sampled_from(["a.txt", "pyproject.toml", "pylock.toml", "uv.lock", "e.yml", "x.exe"]),
    st.sampled_from([(), ("options", "paths", "urls", "vcs")]),
)
def test_no_text_does_anything_but_be_refused(text, name, allowed):
    try:
        found = parse(name, text, PYTHON, allowed=allowed)
    except Invalid:
        return
    else:
        assert all("://" not in line for line in found.lines)


def test_files_of_other_kinds_are_refused():
    with pytest.raises(Invalid) as caught:
        parse("setup.py", "import os", PYTHON)
    assert caught.value.field == "file.name"
    assert os.sep not in caught.value.message
