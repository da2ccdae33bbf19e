"""The files of rules: what is read, what is written, and what a fault in one of them does."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Conflict, Invalid
from coiled_jupyter.core.rules import Case, RuleFile, RuleSpec, parse
from coiled_jupyter.core.wire import RulesChange
from coiled_jupyter.rulebook import RuleBook, rewritten, tables

NUMPY = Case("numpy", "differs", "2.0", "1.0")


@pytest.fixture
def book(tmp_path):
    return RuleBook(tmp_path / "admin.toml", tmp_path / "rules.toml")


def test_a_change_is_written_at_once_and_for_this_user_only(tmp_path):
    book = RuleBook(None, tmp_path / "rules.toml")
    before = os.umask(0)
    try:
        made = book.change(RulesChange(ignores=("My_Lib",), overrides={"NumPy": "minor"}))
    finally:
        os.umask(before)
    assert (made.ignores, made.overrides, made.faults) == (("my-lib",), {"numpy": "minor"}, ())
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    assert [path.name for path in book.path.parent.iterdir()] == ["rules.toml"]
    assert RuleBook(None, book.path).to_wire() == made
    # What isn't named stays; null takes an override back.
    assert book.change(RulesChange(overrides={"pandas": "same"})).overrides == {"numpy": "minor", "pandas": "same"}
    made = book.change(RulesChange(overrides={"numpy": None, "absent": None}))
    assert (made.ignores, made.overrides) == (("my-lib",), {"pandas": "same"})
    assert book.change(RulesChange(ignores=())).ignores == ()


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        (RulesChange(ignores=("a", "Python")), "ignores", "python can't be ignored"),
        (RulesChange(ignores=("dask",)), "ignores", "no task runs"),
        (RulesChange(ignores=("distributed",)), "ignores", "distributed"),
        (RulesChange(ignores=("<img>",)), "ignores", "no name"),
        (RulesChange(overrides={"a b": "same"}), "overrides", "no name"),
    ],
)
def test_what_is_refused_changes_nothing(book, body, field, said):
    with pytest.raises(Invalid) as caught:
        book.change(body)
    assert caught.value.field == field
    assert said in caught.value.message
    assert not book.path.exists()


OWN = """# Why we do this: see the wiki.
ignore = [
  "a",  # of the site
]

[overrides]
"numpy" = "risky"

# Ours is [not] on the workers.
[[rule]]
names = ["ours-*"]
severity = "same"
why = "Ours."
"""


def test_what_was_written_by_hand_survives(book):
    book.path.write_text(OWN)
    book.change(RulesChange(ignores=("b",), overrides={"pandas": "minor"}))
    text = book.path.read_text()
    assert "# Why we do this: see the wiki." in text
    assert "# Ours is [not] on the workers." in text
    assert parse(text) == RuleFile(
        ignore=("b",),
        overrides={"numpy": "risky", "pandas": "minor"},
        rule=(RuleSpec(names=("ours-*",), severity="same", why="Ours."),),
    )


short = st.text(max_size=12)
files = st.builds(
    RuleFile,
    ignore=st.lists(short, max_size=3).map(tuple),
    overrides=st.dictionaries(short, st.sampled_from(["breaks", "same"]), max_size=3),
    names=st.dictionaries(short, st.lists(st.from_regex("[a-z]+", fullmatch=True), max_size=2).map(tuple), max_size=2),
    rule=st.lists(
        st.builds(
            RuleSpec,
            severity=st.just("minor"),
            why=short,
            imported=st.sampled_from([None, True]),
            in_use=st.sampled_from([None, True]),
            status=st.just(("same",)),
        ),
        max_size=2,
    ).map(tuple),
)


@given(files, files, st.sampled_from(["", "# a comment\n", 'ignore = ["]"]\n', "[overrides]\n[[rule]]\n"]))
def test_what_is_written_is_what_was_wanted(file, other, before):
    text = before + tables(other)
    assert parse(rewritten(text, file)) == file


def test_a_file_that_changes_is_read_again_and_a_damaged_one_breaks_nothing(book, tmp_path):
    admin = tmp_path / "admin.toml"
    book.path.write_text('[[rule]]\nnames = ["numpy"]\nseverity = "same"\nwhy = "Mine."\n')
    assert book.rules().rule(NUMPY).why == "Mine."
    assert any("no such file" in fault for fault in book.to_wire().faults)
    admin.write_text('[[rule]]\nnames = ["numpy"]\nseverity = "risky"\nwhy = "Theirs."\n')
    assert book.rules().rule(NUMPY).why == "Theirs."
    assert book.to_wire().faults == ()
    admin.write_text("[[rule]\n")
    book.path.write_text("rule = 3\n")
    assert book.rules().rule(NUMPY).severity == "breaks"
    faults = book.to_wire().faults
    assert [fault.split(" can't")[0] for fault in faults] == ["The administrator's rules", f"Your rules ({book.path})"]
    assert str(admin) not in str(faults)
    with pytest.raises(Conflict) as caught:
        book.change(RulesChange(ignores=("a",)))
    assert "fault" in caught.value.message
    assert book.path.read_text() == "rule = 3\n"


@pytest.mark.parametrize("kind", ["folder", "pipe", "latin", "large", "closed"])
def test_a_file_that_is_none(book, kind):
    if kind == "folder":
        book.path.mkdir()
    elif kind == "pipe":
        os.mkfifo(book.path)
    elif kind == "closed":
        book.path.symlink_to(book.path)
    else:
        book.path.write_bytes(b"\xff" if kind == "latin" else b"#" * 2_000_000)
    assert book.rules().rule(NUMPY).severity == "breaks"
    assert len(book.to_wire().faults) == 2


def test_a_file_that_ignores_what_cannot_be_says_so(book):
    book.path.write_text('ignore = ["Python", "a"]\n')
    assert any("python, which can't be ignored" in fault for fault in book.to_wire().faults)
    assert set(book.rules().ignored) == {"a"}


def test_names_of_conda_are_the_users_too(tmp_path):
    user = tmp_path / "rules.toml"
    user.write_text('[conda]\nacme-core = "Acme_Lib"\npytorch = ""\n')
    book = RuleBook(None, user)
    assert book.rules().conda["acme-core"] == "acme-lib"
    assert book.rules().conda["pytorch"] is None
    assert book.rules().conda["matplotlib-base"] == "matplotlib"
    assert book.to_wire().faults == ()
