"""Requirement lines that would fetch, run or mislead are refused before anything is read."""

from __future__ import annotations

import pytest

from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.software.requirements import check

HOSTILE = [
    "", " ", "-r x", "-rx", "--requirement x", "--index-url=http://evil", "--index-url http://evil", "-i http://evil",
    "--extra-index-url=http://evil", "-e .", "-e git+https://evil/x", "--find-links=/x", "-f /x", "--no-index", "--pre",
    "x @ https://evil/x.whl", "x@https://evil/x.whl", "x @ file:///x", "x @ git+https://evil/x", "git+https://evil/x",
    "https://evil/x.whl", "file:///x", "./x", "../x", "/x", "~/x", "x.whl/../y", "name; import os", "name;import os",
    "name && rm -rf /", "name | sh", "$(id)", "`id`", "name\n--index-url=http://evil", "name\r-e .", "name\0x",
    "name\u2028-e .", "name # --index-url=http://evil", "nam\u0435==1", "name==1 --hash=sha256:0", "==1", "name==", "a" * 501,
    "name\t\v", "@", "name[", "name=1", "name==1;", "name ; os_name == 'x' or",
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE)
def test_refused(line):
    with pytest.raises(Invalid) as caught:
        check(["numpy", line])
    assert caught.value.field == "requirements[1]"
    assert "Traceback" not in caught.value.message


def test_plain_ones_pass():
    lines = ["numpy==1.26.4", "dask[complete]>=2024.5,<2027", 'toolz; python_version >= "3.8"', "Zope.Interface"]
    assert len(check(lines)) == 4
