"""Why a package can't be had, in one sentence, from what uv and installers say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.change.reasons import LONG, Reason, reason

END = "we can conclude that your requirements are unsatisfiable."


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        ("six", f"Because there is no version of six==99.0 and you require six==99.0, {END}",
         "The package index has no six 99.0."),
        ("acme", f"Because acme was not found in the package registry and you require acme==1.0, {END}",
         "It isn't on the package index."),
        ("acme", f"Because core was not found in the package registry and acme==1.0 depends on core, {END}",
         "core, which it needs, isn't on the package index."),
        ("pywin32", ("Because pywin32==306 has no wheels with a matching platform tag (e.g., `manylinux_2_28_x86_64`) and "
         f"you require pywin32==306, {END} hint: Wheels are available for `pywin32` (v306) on: `win32`, `win_amd64`"),
         "There is no wheel of pywin32 306 for the cluster's platform."),
        ("numpy", ("Because numpy==1.20.0 has no wheels with a matching Python ABI tag (e.g., `cp311`) and you require "
         f"numpy==1.20.0, {END}"), "There is no wheel of numpy 1.20.0 for the cluster's Python."),
        ("numpy", f"Because numpy==2.4.6 has no usable wheels and you require numpy==2.4.6, {END} hint: …",
         "There is no wheel of numpy 2.4.6 that can be installed on the cluster."),
        ("numpy", ("Because the requested Python version (>=3.10) does not satisfy Python>=3.11 and numpy==2.4.6 depends on "
         f"Python>=3.11, we can conclude that numpy==2.4.6 cannot be used. And because you require numpy==2.4.6, {END}"),
         "numpy 2.4.6 needs Python >=3.11."),
        ("numpy", ("Because numba==0.60.0 depends on numpy>=1.22,<2.1 and you require numpy==2.4.6, we can conclude that your "
         f"requirements and numba==0.60.0 are incompatible. And because you require numba==0.60.0, {END}"),
         "numba 0.60.0 needs numpy>=1.22,<2.1."),
        ("pandas", ("Because pandas==2.2.0 depends on numpy{python_full_version < '3.12'}>=1.23.2,<2 and you require "
         f"pandas==2.2.0, we can conclude that you require numpy>=1.23.2,<2. And because you require numpy==2.4.6, {END}"),
         "It needs numpy>=1.23.2,<2, which doesn't fit the other packages."),
        ("acme", f"Because of something that uv says in other words, {END}", "It doesn't fit the other packages."),
    ],
)  # fmt: skip
def test_the_resolvers_words_are_one_sentence_and_kept(name, words, text):
    assert reason(name, words).text == text
    assert reason(name, words).details == words


def test_short_sentences_of_ours_stay_and_long_words_of_an_installer_are_cut():
    assert reason("x", "It isn't from an index.") == Reason("It isn't from an index.")
    long = "The project can't be built: error: subprocess failed. " + "x" * 500
    assert reason("x", long).text == "The project can't be built."
    assert reason("x", long).details == long
    assert reason("x", "one line\nand more").text == "one line."
    assert len(reason("x", "y" * 900).text) == LONG + 1


@given(st.text(min_size=1).filter(lambda text: text.strip() != ""))
def test_whatever_is_said_is_one_line(words):
    assert "\n" not in reason("x", words).text
    assert len(reason("x", words).text) <= LONG + 100
