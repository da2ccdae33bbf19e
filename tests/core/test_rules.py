"""What a difference means, by example, and the files of rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core import rules
from coiled_jupyter.core.errors import Invalid
from coiled_jupyter.core.rules import (
    ORDER,
    Case,
    RuleFile,
    check_name,
    combine,
    direction,
    distance,
    equal_versions,
    needed,
    parse,
    shipped,
    shipped_file,
)
from coiled_jupyter.core.wire import Environment

SYMMETRIC = [
    ("python", "3.11.7", "3.12.1", "breaks"),
    ("python", "3.11.7", "3.11.9", "minor"),
    ("python", "3.11.7", "pypy 3.11.7", "breaks"),
    ("python", "pypy 3.10.14", "pypy 3.10.16", "minor"),
    ("distributed", "2026.8.0", "2025.3.0", "breaks"),
    ("distributed", "2026.8.0", "2025.4.1", "risky"),
    ("distributed", "2026.8.0", "2026.7.0", "risky"),
    ("distributed", "2026.8.0", "2026.8.1", "minor"),
    ("dask", "2026.8.0", "2024.5.0", "breaks"),
    ("dask", "2026.8.0", "2026.8.0+3.gabc", "minor"),
    ("dask", "2026.8.0", "custom", "breaks"),
    ("cloudpickle", "3.1.0", "2.2.0", "breaks"),
    ("cloudpickle", "3.1.0", "3.0.0", "minor"),
    ("msgpack", "1.2.1", "1.0.5", "minor"),
    ("msgpack", "1.2.1", "0.6.2", "breaks"),
    ("tornado", "6.6.1", "6.2", "minor"),
    ("toolz", "1.1.0", "0.12.0", "minor"),
    ("numpy", "2.4.6", "2.3.0", "risky"),
    ("numpy", "2.4.6", "2.4.5", "minor"),
    ("numpy", "2.4.6", "custom", "breaks"),
    ("torch", "2.4.0+cpu", "2.4.0+cu118", "risky"),
    ("polars", "0.20.1", "0.21.0", "breaks"),
    ("pandas", "3.0.0", "2.3.3", "breaks"),
    ("pandas", "2.3.3", "1.5.3", "breaks"),
    ("ipykernel", "7.0", "6.0", "same"),
    ("lz4", "4.4.0", "4.3.0", "same"),
    ("mylib", "2.0", "1.0", "minor"),
]
DIFFERENCES = [
    *((name, a, b, False, severity) for name, a, b, severity in SYMMETRIC),
    *((name, b, a, False, severity) for name, a, b, severity in SYMMETRIC),
    ("numpy", "2.4.6", "1.26.4", False, "breaks"),
    ("numpy", "1.26.4", "2.4.6", False, "risky"),
    ("numpy", "1.25.2", "2.4.6", False, "breaks"),
    ("mylib", "2.0", "1.0", True, "risky"),
    ("mylib", "1.0", "2.0", True, "risky"),
    ("mylib", "2.1", "2.0", True, "minor"),
    ("mylib", "1!1.0", "1.0", True, "risky"),
    ("mylib", "here", "there", True, "risky"),
]


@pytest.mark.parametrize(("name", "kernel", "cluster", "in_use", "severity"), DIFFERENCES)
def test_versions(name, kernel, cluster, in_use, severity):
    rule = shipped().rule(Case(name, "differs", kernel, cluster, imported=in_use, in_use=in_use))
    assert rule.severity == severity
    assert rule.why.endswith(".")
    assert rule.severity == "same" or rule.fix.endswith(".")


@pytest.mark.parametrize(
    ("case", "severity"),
    [
        (Case("mylib", "only_kernel", imported=True, in_use=True), "breaks"),
        (Case("mylib", "only_kernel", imported=True, in_use=True, role="scheduler"), "breaks"),
        (Case("mylib", "only_kernel", requested=True), "minor"),
        (Case("mylib", "only_kernel"), "minor"),
        (Case("ipykernel", "only_kernel", imported=True, in_use=True), "same"),
        (Case("lz4", "only_kernel", imported=True, in_use=True), "same"),
        (Case("lz4", "only_kernel", imported=True, in_use=True, requested=True), "minor"),
        (Case("distributed", "only_kernel", imported=True, in_use=True), "breaks"),
        (Case("distributed", "only_cluster"), "breaks"),
        (Case("mylib", "only_cluster"), "minor"),
        (Case("mylib", "differs", "2.0", "1.0", requested=True), "risky"),
        (Case("mylib", "differs", "2.0", "1.0", imported=True, in_use=True, role="scheduler"), "same"),
        (Case("numpy", "differs", "2.0", "1.0", role="scheduler"), "breaks"),
        (Case("numpy", "differs", "1.0", "2.0", role="scheduler"), "risky"),
        (Case("numpy", "differs", "2.1", "2.0", role="scheduler"), "same"),
        (Case("toolz", "content_differs", role="scheduler", evidence="content"), "risky"),
        (Case("mylib", "content_differs", imported=True, in_use=True, evidence="content"), "risky"),
        (Case("mylib", "content_differs", evidence="build"), "minor"),
        (Case("numpy", "content_differs", evidence="build"), "risky"),
        (Case("ipykernel", "content_differs", evidence="edited"), "risky"),
        (Case("mylib", "broken", imported=True, in_use=True, problem="missing_files"), "breaks"),
        (Case("mylib", "broken", imported=True, in_use=True, problem="duplicate"), "breaks"),
        (Case("mylib", "broken", problem="duplicate"), "risky"),
        (Case("mylib", "broken", imported=True, in_use=True, problem="no_record"), "risky"),
        (Case("ipykernel", "broken", problem="leftover"), "risky"),
        (Case("mylib", "restart_needed"), "risky"),
        (Case("mylib", "split"), "risky"),
        (Case("ipykernel", "split"), "same"),
        (Case("mylib", "unknown", imported=True, in_use=True), "risky"),
        (Case("mylib", "unknown"), "minor"),
        (Case("helpers", "only_kernel", kind="module", imported=True, in_use=True), "breaks"),
        (Case("helpers", "content_differs", kind="module", imported=True, in_use=True, evidence="content"), "risky"),
        (Case("helpers", "content_differs", kind="module", imported=True, in_use=True, role="scheduler"), "same"),
        (Case("openssl", "differs", "3.1", "3.0", kind="conda"), "minor"),
        (Case("libblas", "content_differs", kind="conda"), "risky"),
        (Case("libblas", "content_differs", kind="conda", same_platform=False), "same"),
    ],
)
def test_statuses(case, severity):
    rule = shipped().rule(case)
    assert rule.severity == severity
    assert rule.severity == "same" or (case.status == "restart_needed") or rule.fix


texts = st.text(max_size=10) | st.from_regex(r"[0-2]?!?[0-3](\.[0-3]){0,3}(a1|\.post1|\.dev2)?(\+x)?", fullmatch=True)


@given(texts, texts, st.sampled_from(["python", "numpy", "dask", "mylib", "pip"]))
def test_no_text_is_a_fault(a, b, name):
    assert shipped().rule(Case(name, "differs", a, b, imported=True, in_use=True)).severity in ORDER
    assert equal_versions(a, a)
    assert equal_versions(a, b) == equal_versions(b, a)
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) is None) == equal_versions(a, b)
    assert {direction(a, b), direction(b, a)} in ({None}, {"kernel_newer", "cluster_newer"})


def test_equality_is_that_of_pep_440():
    assert equal_versions("1.0", "1.0.0")
    assert equal_versions("1.0RC1", "1.0rc1")
    assert equal_versions("v1.0", "1.0")
    assert not equal_versions("1.0", "1.0+cu118")
    assert not equal_versions("1.0", "1.0.post1")
    assert not equal_versions("text", "Text")


@pytest.mark.parametrize(
    ("a", "b", "part"),
    [
        ("1!1.0", "1.0", "epoch"), ("2.0", "1.9", "major"), ("0.3", "0.4", "major"), ("1.3", "1.4", "minor"),
        ("0.3.1", "0.3.2", "micro"), ("1.0", "1.0.1", "micro"), ("1.0.0.1", "1.0", "micro"), ("1.0rc1", "1.0", "pre"),
        ("1.0", "1.0.post1", "post"), ("1.0", "1.0.dev3", "post"), ("1.0", "1.0+cu118", "local"), ("1.0", "x", "text"),
        ("1.0", "1.0.0", None),
    ],
)  # fmt: skip
def test_distance(a, b, part):
    assert distance(a, b) == part


def place(python="3.11.7", platform="linux-x86_64", implementation="cpython") -> Environment:
    return Environment(
        id="e", role="worker", host="h", prefix="/p", python=python, implementation=implementation, platform=platform,
        packages=(), problems=(), level="all", digest="", nodes=("n",), taken_at="2026-01-01T00:00:00Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("marker", "where", "holds"),
    [
        ("sys_platform == 'win32'", place(), False),
        ("sys_platform == 'win32'", place(platform="win-amd64"), True),
        ("platform_machine == 'AMD64' and os_name == 'nt'", place(platform="win-amd64"), True),
        ("platform_system == 'Darwin' and platform_machine == 'arm64'", place(platform="macosx-14.0-arm64"), True),
        ("sys_platform == 'linux' and platform_machine == 'aarch64'", place(platform="linux-aarch64"), True),
        ("python_version < '3.11'", place("3.10.2"), True),
        ("python_version < '3.11'", place("3.11.0"), False),
        ("python_full_version < '3.11.3'", place("3.11.2"), True),
        ("implementation_name == 'pypy'", place(implementation="pypy"), True),
        ("platform_release >= '5'", place(), True),
        ("nonsense", place(), True),
        ("(" * 600 + "sys_platform == 'win32'" + ")" * 600, place(), True),
        ("python_version < '3.11'", place("odd"), True),
    ],
)
def test_markers_are_read_for_the_other_side_and_in_doubt_hold(marker, where, holds):
    assert needed([marker], where) == holds


def test_packages_of_one_platform():
    assert shipped().only_where("pywin32", place()) == "sys_platform == 'win32'"
    assert shipped().only_where("pywin32", place(platform="win-amd64")) is None
    assert shipped().only_where("pyobjc-core", place()) is not None
    assert shipped().only_where("nvidia-cublas-cu12", place(platform="macosx-14.0-arm64")) is not None
    assert shipped().only_where("numpy", place()) is None


def test_the_shipped_file_is_one_that_a_user_could_write():
    path = rules.resources.files("coiled_jupyter.core") / "rules.toml"
    assert parse(path.read_text(encoding="utf-8")) == shipped_file()
    groups = shipped_file().names
    assert not set(groups["tools"]) & {*groups["data"], *groups["protocol"]}
    # What only follows from a rule that always holds would never be reached.
    assert all(rule.names or rule.status or rule.kind for rule in shipped_file().rule)


def test_an_administrator_comes_before_a_user_and_both_before_us():
    mine = '[[rule]]\nnames = ["numpy", "@ours"]\nseverity = "{}"\nwhy = "So."\n[names]\nours = ["our-*"]\n'
    user, admin = parse(mine.format("same")), parse(mine.format("risky"))
    case = Case("numpy", "differs", "2.0", "1.0")
    assert shipped().rule(case).severity == "breaks"
    assert combine(user=user).rule(case).severity == "same"
    assert combine(user=user, admin=admin).rule(case).severity == "risky"
    assert combine(user=user).rule(Case("our-lib", "only_cluster")).why == "So."
    assert combine(user=user).rule(Case("other", "only_cluster")).why != "So."


def test_what_is_ignored_and_overridden_says_by_whom():
    made = combine(
        user=RuleFile(ignore=("My_Lib", "python"), overrides={"numpy": "minor"}),
        admin=RuleFile(ignore=("site.lib",), overrides={"numpy": "risky"}),
    )
    assert made.decided("my-lib", "differs", "breaks", "Why.", "Fix.") == (
        "same",
        "Ignored by your rules. Why.",
        "Fix.",
    )
    assert made.decided("site-lib", "differs", "risky", "Why.", "")[1].startswith(
        "Ignored by the administrator's rules."
    )
    severity, why, _ = made.decided("numpy", "differs", "breaks", "Why.", "")
    assert (severity, why) == ("risky", "Rated risky by the administrator's rules, otherwise breaks. Why.")
    assert made.decided("numpy", "same", "same", "", "") == ("same", "", "")
    assert made.decided("python", "differs", "breaks", "Why.", "")[0] == "breaks"
    wire = made.to_wire(["one"])
    assert (wire.ignores, wire.overrides, wire.faults) == (("my-lib",), {"numpy": "minor"}, ("one",))
    assert [(r.names, r.severity, r.origin) for r in wire.rules[:2]] == [
        (("site-lib",), "same", "admin"),
        (("numpy",), "risky", "admin"),
    ]
    assert {rule.origin for rule in wire.rules} == {"admin", "shipped"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]", "isn't TOML"),
        ("nonsense = 1", "nonsense"),
        ('[[rule]]\nseverity = "red"\nwhy = ""', "rule[0].severity"),
        ('[[rule]]\nwhy = ""', "severity"),
        ('[[rule]]\nnames = ["@nobody"]\nseverity = "same"\nwhy = ""', "@nobody"),
        ('[names]\na = ["@b"]\nb = ["@a"]\n[[rule]]\nnames = ["@a"]\nseverity = "same"\nwhy = ""', "@"),
        ('[[rule]]\nolder = "two"\nseverity = "same"\nwhy = ""', "two"),
        ('[[only]]\nnames = ["a"]\nmarker = "import os"', "import os"),
        ("#" * (rules.SIZE_LIMIT + 1), "1 MiB"),
    ],
)
def test_a_damaged_file_is_refused_and_says_where(text, said):
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert said in caught.value.message
    assert "Traceback" not in caught.value.message


def test_placeholders_that_are_none_stay():
    assert rules.words("{name} {nothing} {0.__class__}", {"name": "{kernel}"}) == "{kernel} {nothing} {0.__class__}"


@pytest.mark.parametrize("name", ["", "a b", "-", "../x", "<img>"])
def test_names(name):
    with pytest.raises(Invalid):
        check_name(name, "ignores")
    assert check_name("Zope.Interface", "ignores") == "zope-interface"
