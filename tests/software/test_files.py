"""What files of requirements say, and what of them isn't taken."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.software.files import parse

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
  - polars 1.2|1.3
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
        *("openssl", "libblas", 'rich>=13; python_version > "3.8"'),
    )
    assert [left.name for left in found.left_out] == ["pip", "graphviz", "polars"]
    for wrong in ("- a", "dependencies: numpy", "dependencies: [{pip: [-r x.txt]}]", "a: !!python/object:os.system x"):
        with pytest.raises(Invalid):
            parse("environment.yml", wrong, PYTHON)


@given(st.text(max_size=300), st.sampled_from(["a.txt", "pyproject.toml", "pylock.toml", "uv.lock", "e.yml", "x.exe"]))
def test_no_text_does_anything_but_be_refused(text, name):
    try:
        found = parse(name, text, PYTHON)
    except Invalid:
        return
    else:
        assert all("://" not in line for line in found.lines)


def test_files_of_other_kinds_are_refused():
    with pytest.raises(Invalid) as caught:
        parse("setup.py", "import os", PYTHON)
    assert caught.value.field == "file.name"
    assert os.sep not in caught.value.message
