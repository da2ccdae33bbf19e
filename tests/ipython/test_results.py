"""How a result shows itself, in every form that a page or a terminal takes."""

from __future__ import annotations

import msgspec
import pytest

from coiled_jupyter.core.wire import RowSoftware
from coiled_jupyter.ipython.results import MIME, Result
from tests.test_golden import HOSTILE, _breaks, _cluster

LINES = ("kernel against mine", "✕ 1 package will break on mine", f"? tls://c:1: {HOSTILE}", "table", "1 breaks")


def test_what_could_not_be_read_is_in_every_form():
    diff = _breaks()
    (unread,) = diff.unread
    bundle = Result("diff", diff, (*LINES[:2], f"? {unread.node}: {unread.reason}", *LINES[3:]))._repr_mimebundle_()
    assert unread.node in bundle["text/plain"]
    assert unread.node in bundle["text/html"]
    assert [*bundle[MIME]["unread"]] == [{"node": unread.node, "reason": unread.reason}]
    assert "1 breaks" in bundle["text/html"]


def test_nothing_that_a_place_has_told_is_markup():
    for value in (_breaks(), [_cluster()]):
        shown = Result("x", value, (HOSTILE, *LINES))._repr_mimebundle_()["text/html"]
        assert "<img" not in shown
        assert "&lt;img" in shown


def test_all_rows_are_shown_where_that_was_asked_for():
    diff = _breaks()
    same = next(row.name for row in diff.rows if row.severity == "same")
    assert f"<td>{same}</td>" not in Result("diff", diff, LINES)._repr_mimebundle_()["text/html"]
    assert f"<td>{same}</td>" in Result("diff", diff, LINES, everything=True)._repr_mimebundle_()["text/html"]


def test_a_software_environment_is_a_column_of_its_own():
    diff = _breaks()
    assert "Software" not in Result("diff", diff, LINES)._repr_mimebundle_()["text/html"]
    rows = tuple(msgspec.structs.replace(row, software=RowSoftware(version="9.9.9")) for row in diff.rows)
    result = Result("diff", msgspec.structs.replace(diff, rows=rows), LINES)
    assert "<td>9.9.9</td>" in result._repr_mimebundle_()["text/html"]
    assert set(result.to_frame()["software"]) == {"9.9.9"}


def test_its_attributes_are_those_of_the_answer():
    result = Result("diff", _breaks(), LINES)
    assert result.verdict == "breaks"
    assert {"verdict", "rows", "to_frame", "command"} <= set(dir(result))
    with pytest.raises(AttributeError):
        result.nothing  # noqa: B018 - it is the reading that raises
    several = Result("cluster list", [_cluster(), _cluster()], ("two",))
    assert (len(several), several[0].id, [c.id for c in several], bool(several)) == (2, "c1", ["c1", "c1"], True)
