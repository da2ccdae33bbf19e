"""What explains a failure: real texts of real failures, the single clues, and what hostile text may not do."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coiled_jupyter.core.explain import CLUES, DISTRIBUTIONS, explain, proven
from coiled_jupyter.core.wire import (
    Checked,
    Diff,
    DiffCluster,
    DiffKernel,
    Row,
    RowGroup,
    RowSide,
    Severities,
    Source,
    Unread,
)

TEXTS = Path(__file__).with_name("tracebacks")


def row(name, here, there, severity, *, status=None, in_use=False, kind=None):
    source = Source(url="file:///home/me/work", kind=kind) if kind else None
    if status is None:
        status = "same" if here == there else "differs"
        status = "only_kernel" if there is None else "only_cluster" if here is None else status
    return Row(
        name=name,
        kernel=RowSide(version=here, source=source) if here else None,
        groups=(RowGroup(group="g", version=there),),
        software=None,
        status=status,
        severity=severity,
        use="imported" if in_use else "",
        needed_by="",
        why=f"About {name}.",
        fix=f"Mend {name}.",
    )


def diff(*rows, verdict="breaks", unread=(), level="all"):
    return Diff(
        verdict=verdict,
        deciding=len(rows) if verdict in ("breaks", "risky") else 0,
        level=level,
        kernel=DiffKernel(id="k", label="k", python="3.11.7", digest="d"),
        cluster=DiffCluster(id="c", name="c", groups=()),
        counts={},
        severities=Severities(),
        unread=tuple(unread),
        checked=Checked(content=verdict != "unknown"),
        rows=rows,
        taken_at="2026-01-01T00:00:00.000Z",
    )


def names(explanation):
    return [cause.row.name for cause in explanation.causes]


NUMPY = row("numpy", "2.4.6", "1.26.4", "breaks", in_use=True)
PANDAS = row("pandas", "2.3.3", "1.5.3", "breaks")
OTHER = [NUMPY, PANDAS, row("scikit-learn", "1.8.0", None, "breaks"), row("python", "3.11.7", "3.11.7", "same")]
PYTHON = row("python", "3.11.7", "3.12.1", "breaks", in_use=True)
MINOR = [PYTHON, row("numpy", "2.4.6", None, "minor"), row("dask", "2026.8.0", "2026.8.0", "same")]
RELEASE = [
    row("dask", "2024.5.0", "2026.8.0", "breaks"),
    row("distributed", "2024.5.0", "2026.8.0", "breaks"),
    row("python", "3.10.13", "3.11.7", "breaks"),
    row("cloudpickle", "2.2.1", "3.1.2", "breaks"),
    row("numpy", "1.26.4", "2.4.6", "breaks"),
    row("tornado", "6.5.10", "6.6.1", "minor"),
    row("toolz", "1.2.0", "1.2.0", "same"),
]


@pytest.mark.parametrize(
    ("text", "rows", "basis", "expected"),
    [
        ("numpy-core-ipython", OTHER, "named", ["numpy"]),
        ("numpy-attribute", OTHER, "named", ["numpy"]),
        ("missing-module-ipython", OTHER, "named", ["scikit-learn"]),
        ("pandas-pickle", OTHER, "named", ["pandas"]),
        ("pandas-too-old", OTHER, "named", ["pandas"]),
        ("pandas-frame", OTHER, "fits", ["pandas"]),
        ("pandas-keyword", OTHER, "fits", ["pandas"]),
        ("zero-division", OTHER, "none", []),
        ("killed-worker", MINOR, "fits", ["python"]),
        ("comm-closed", MINOR, "fits", ["python"]),
        ("timeout", MINOR, "fits", ["python"]),
        # Seen where workers lack what the scheduler has, and with models that another release can't read.
        ("timeout", [row("lightgbm", "4.5.0", "3.3.5", "breaks"), *MINOR[1:]], "fits", ["lightgbm"]),
        ("timeout", MINOR[1:], "none", []),
        ("killed-worker", OTHER, "none", []),
        ("code-too-many", MINOR, "named", ["python"]),
        ("code-argument-ipython", RELEASE, "named", ["python"]),
        ("identity", RELEASE, "named", ["distributed"]),
        ("cancelled", RELEASE, "fits", ["distributed", "dask"]),
        ("warning", RELEASE, "warned", ["dask", "distributed", "python", "cloudpickle", "numpy"]),
    ],
)
def test_real_failures(text, rows, basis, expected):
    made = explain((TEXTS / f"{text}.txt").read_text(), diff(*rows))
    assert made.basis == basis, made.text
    assert sorted(names(made)) == sorted(expected)
    for cause in made.causes:
        assert cause.evidence
        assert "\x1b" not in cause.evidence
        assert cause.why.endswith(".")


def test_every_real_text_is_used():
    used = {p.args[1][i][0] for p in test_real_failures.pytestmark for i in range(len(p.args[1]))}
    assert used == {path.stem for path in TEXTS.glob("*.txt")}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("SystemError: unknown opcode", "python"),
        ("TypeError: code() takes at most 16 arguments (18 given)", "python"),
        ("TypeError: code() takes exactly 16 arguments", "python"),
        ("TypeError: code expected at most 16 arguments, got 18", "python"),
        ("TypeError: code() argument 13 must be str, not int", "python"),
        ("ValueError: bad marshal data (unknown type code)", "python"),
        ("ImportError: bad magic number in 'x': b'\\xa7\\r\\r\\n'", "python"),
        ("ValueError: unsupported pickle protocol: 5", "python"),
        ("ModuleNotFoundError: No module named 'distutils'", "python"),
        ("ModuleNotFoundError: No module named 'tomllib'", "python"),
        ("ImportError: cannot import name 'override' from 'typing' (/usr/lib/typing.py)", "python"),
        ("AttributeError: module 'itertools' has no attribute 'batched'", "python"),
        ("2026-01-01 12:00:00,000 - distributed.nanny - INFO - Worker process 12 was killed by signal 11", "python"),
        ("distributed.client.FutureCancelledError: f-1 cancelled for reason: scheduler-connection-lost.", "python"),
        ("distributed.client.FutureCancelledError: f-1 cancelled for reason: unknown.", "distributed"),
        ("TypeError: identity() got an unexpected keyword argument 'n_workers'", "distributed"),
        ("TypeError: Worker.get_data() missing 1 required positional argument: 'who'", "distributed"),
        ("KeyError: 'pickle-protocol'", "distributed"),
        ("OSError: Timed out during handshake with tcp://127.0.0.1:1 after 30 s", "distributed"),
        ("AttributeError: Can't get attribute '_make_function' on <module 'cloudpickle.cloudpickle'>", "cloudpickle"),
        ("TypeError: _make_skeleton_class() takes 6 positional arguments but 7 were given", "cloudpickle"),
        ("AttributeError: Can't get attribute 'unpickle_exception_with_attrs' on <module 'tblib.x'>", "tblib"),
        ("msgpack.exceptions.ExtraData: unpack(b) received extra data.", "msgpack"),
        ("ModuleNotFoundError: No module named 'numpy._core'", "numpy"),
        ("ModuleNotFoundError: No module named 'numpy.core.multiarray'", "numpy"),
        ("ValueError: <class 'numpy.random._mt19937.MT19937'> is not a known BitGenerator module.", "numpy"),
        (
            "AttributeError: Can't get attribute '_unpickle_block' on <module 'pandas._libs.internals' from '/x'>",
            "pandas",
        ),
        ("AttributeError: 'numpy.ndarray' object has no attribute 'tostring'", "numpy"),
        ("ImportError: cannot import name 'trapz' from 'scipy.integrate' (/opt/x/scipy/integrate.py)", "scipy"),
        ("ImportError: Missing optional dependency 'pyarrow'.  Use pip or conda to install pyarrow.", "pyarrow"),
        ("PackageNotFoundError: No package metadata was found for tables", "tables"),
        ("ModuleNotFoundError: No module named 'sklearn'", "scikit-learn"),
        ("ModuleNotFoundError: No module named 'google.cloud.storage'", "google-cloud-storage"),
        ("ModuleNotFoundError: No module named 'ruamel'", "ruamel"),
        ("ModuleNotFoundError: No module named 'My_Helper.part'", "my-helper"),
        ("Exception: ModuleNotFoundError(\"No module named 'scipy'\")", "scipy"),
        ("  | ModuleNotFoundError: No module named 'scipy'", "scipy"),
        ("KeyError: 'lz4'", "lz4"),
        ("KeyError: 'zstd'", "zstandard"),
        ("RuntimeError: Error during deserialization of the task graph. This frequently", "pandas"),
        ("\x1b[91mModuleNotFoundError\x1b[39m: No module \x1b]8;;http://x\x07named\x1b]8;;\x07 'scipy'", "scipy"),
    ],
)
def test_clues(line, name):
    made = explain(f"Traceback (most recent call last):\n  x\n{line}\n", diff(row(name, "1.0", "2.0", "breaks")))
    assert names(made) == [name]
    assert name in made.text
    # The same text with that row equal, rated harmless or absent blames nothing.
    for others in (
        [row(name, "1.0", "1.0", "same")],
        [row(name, "1.0", "2.0", "same")],
        [row("zzz", "1", "1", "same")],
    ):
        made = explain(line, diff(*others, verdict="equal"))
        assert (names(made), made.basis) == ([], "none")


@pytest.mark.parametrize(("module", "distributions"), DISTRIBUTIONS.items())
def test_modules_of_other_names(module, distributions):
    for name in distributions:
        made = explain(f"ModuleNotFoundError: No module named '{module}.x'", diff(row(name, "1", None, "breaks")))
        assert names(made) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "ValueError: invalid literal for int() with base 10: 'x'",
        "AttributeError: 'NoneType' object has no attribute 'numpy'",
        "AttributeError: Can't get attribute 'f' on <module '__main__' (built-in)>",
        "asyncio.exceptions.CancelledError",
        "FutureCancelledError: f-1 cancelled for reason: scheduler-restart.",
        # Source code around a failure is no evidence, in the forms of Python, IPython and exception groups.
        "Traceback (most recent call last):\n  File 'x', line 1, in f\n    raise E  # No module named 'numpy'\nE: no",
        "----> 5 raise E('KilledWorker, code() takes at most 16 arguments')\n      6 unknown opcode",
        "    |     raise ModuleNotFoundError(\"No module named 'numpy'\")",
        "File /opt/x/site-packages/numpy/unknown opcode.py:3, in f(a)",
        "",
        "   \n\x00\x1b[\n",
        "numpy python distributed pandas",
    ],
)
def test_nothing_is_made_up(text):
    made = explain(text, diff(NUMPY, PYTHON, *RELEASE[:2], PANDAS))
    assert (made.causes, made.basis) == ((), "none")
    assert "Nothing in this text" in made.text
    assert "numpy" in made.text  # the diff is bad all the same, and that is said


def test_a_failure_that_never_came_through_dask_is_not_blamed_on_a_package_of_its_frames():
    frames = '  File "/x/site-packages/pandas/core/generic.py", line 1, in __getattr__\n    x\n'
    error = "AttributeError: 'DataFrame' object has no attribute 'mpa'"
    own = explain(f"Traceback (most recent call last):\n{frames}{error}", diff(PANDAS))
    assert names(own) == []
    dask = '  File "/x/site-packages/distributed/client.py", line 1, in result\n    x\n'
    through = f"Traceback (most recent call last):\n{dask}{frames}{error}"
    assert names(explain(through, diff(PANDAS))) == ["pandas"]
    # Dask's frames only carry the failure.
    carried = f"Traceback (most recent call last):\n{frames}{dask}{error}"
    assert names(explain(carried, diff(PANDAS, RELEASE[1]))) == []


def test_a_named_package_silences_symptoms():
    text = "distributed.scheduler.KilledWorker: f\nModuleNotFoundError: No module named 'scipy'"
    made = explain(text, diff(PYTHON, row("scipy", "1.0", None, "minor")))
    assert names(made) == ["scipy"]
    assert names(explain(text, diff(PYTHON))) == ["python"]


def test_the_gravest_comes_first_and_those_in_use():
    text = "\n".join(f"ModuleNotFoundError: No module named '{name}'" for name in "abcd")
    rows = [row("a", "1", "2", "minor"), row("b", "1", None, "risky"), row("c", "1", None, "breaks")]
    rows.append(row("d", "1", None, "breaks", in_use=True))
    assert names(explain(text, diff(*rows))) == ["d", "c", "b", "a"]


def test_local_modules_are_told_from_packages():
    text = "ModuleNotFoundError: No module named 'my_helper'"
    local = row("my-helper", "1", None, "breaks", kind="module")
    assert "is here, in no package, and not" in explain(text, diff(local)).causes[0].why
    assert "beside" not in explain(text, diff(row("my-helper", "1", None, "breaks"))).causes[0].why


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "No package that was read here or on the cluster is known to bring the module scipy.linalg."),
        ([row("scipy", "1", "1", "same")], "points at scipy, but that is equal"),
        ([row("scipy", "1", None, "same")], "rated harmless. scipy is here and not on the cluster."),
    ],
)
def test_what_is_pointed_at_without_a_difference_is_said(rows, sentence):
    made = explain("ModuleNotFoundError: No module named 'scipy.linalg'", diff(*rows, verdict="equal"))
    assert sentence in made.text
    assert made.text.endswith("Nor is any difference known to make tasks fail.")


def test_the_warning_is_judged_by_the_rows():
    text = (TEXTS / "warning.txt").read_text()
    rows = [
        row("python", "3.11.7", "3.11.8", "minor", in_use=True),
        row("numpy", "1.26.4", "2.4.6", "breaks"),
        row("tornado", "6.5.10", "6.6.1", "same"),
        row("dask", "1", "1", "same"),
        row("scipy", "1.0", "2.0", "risky"),
        row("cloudpickle", "3.1", "3.1", "same"),
    ]
    made = explain(text, diff(*rows))
    assert (names(made), made.basis) == (["numpy"], "warned")
    assert made.causes[0].evidence == "| numpy | 1.26.4 | 2.4.6 | 2.4.6 |"
    assert "numpy can make tasks fail" in made.text
    assert "Nothing is known to depend on the difference of python and tornado." in made.text
    assert "cloudpickle and dask are equal now." in made.text
    assert "Dask doesn't look at scipy, which" in made.text
    harmless = explain(text, diff(*rows[2:4], verdict="equal"))
    assert (names(harmless), harmless.basis) == ([], "none")
    assert "nothing is known to make tasks fail" in harmless.text


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"unread": [Unread(node="tcp://a:1", reason="No answer within 4 s.")]}, "(tcp://a:1: No answer within 4 s)"),
        ({"level": "versions"}, "Only the few versions that Dask itself tells"),
        ({"level": "none"}, "Nothing could be compared."),
        ({}, "Files are still being compared"),
    ],
)
@pytest.mark.parametrize("text", ["KeyError: 1", "No module named 'numpy'", (TEXTS / "warning.txt").read_text()])
def test_what_could_not_be_read_is_said(state, sentence, text):
    assert sentence in explain(text, diff(NUMPY, verdict="unknown", **state)).text


PIECES = ["No module named '", "code() takes at most 1", "| a | b | c | d |", "\n", "\x1b[", "\x1b]", "'", "Package",
          "a.", "File ", "site-packages/numpy/", "TypeError: ", "|", " ", "cannot import name '", "' from '", "\u202e",
          "CancelledError: ", "~/", " in ", "<module '", "\ud800", "numpy", "Worker.", "\r", "-> 1", "_", "0"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_no_text_is_a_fault_and_no_equal_row_a_cause(text):
    rows = [NUMPY, PYTHON, *RELEASE, row("a", "1", "1", "same"), row("a-a", "1", "2", "same")]
    made = explain(text, diff(*rows))
    assert all(c.row.status != "same" and c.row.severity != "same" for c in made.causes)
    assert all(len(c.evidence) <= 200 and c.evidence.isprintable() for c in made.causes)
    assert (made.basis == "none") == (not made.causes)
    assert len(made.text) < 4000
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made


HOSTILE = [*PIECES, *(clue.pattern.replace("\\b", "").replace("\\", "")[:20] for clue in CLUES), "'" + "a." * 40, "a" * 81,
           "No module named '" + "a" * 300, "\x1b]" + "a" * 3999, "- " * 3, "| " * 40, " " * 80]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE, ids=range(len(HOSTILE)))
def test_time_grows_with_the_length_only(piece):
    made = diff(NUMPY, *(row(f"a{i}", "1", "2", "risky") for i in range(500)))

    def work(length):
        text = (piece * (length // len(piece) + 1))[:length]
        # This thread's own, whatever else the machine does.
        begun = time.thread_time()
        explain(text, made)
        return time.thread_time() - begun

    # Of 32 times the text it is about 32 times as much; if it were quadratic, 1,024 times.
    assert work(100_000) < 250 * max(work(3_125), 0.001)


OLD_TABLE = """ValueError: Mismatched versions found

{name}
+-------------------------+---------+
|                         | version |
+-------------------------+---------+
| client                  | {here}  |
| {there} |
+-------------------------+---------+
"""
REPORTED = {
    "a handler of an older scheduler": (
        "TypeError: add_client() got an unexpected keyword argument 'versions'", RELEASE, "named", ["distributed"]),
    "a plugin of an older worker": (
        "TypeError: register_worker_plugin() got an unexpected keyword argument 'idempotent'", RELEASE, "named",
        ["distributed"]),
    "an option of a newer worker": (
        "TypeError: __init__() got an unexpected keyword argument 'worker_saturation'", RELEASE, "fits", ["distributed"]),
    "an option of a newer msgpack": (
        "TypeError: unpackb() got an unexpected keyword argument 'strict_map_key'",
        [row("msgpack", "1.0.0", "0.5.6", "breaks")], "fits", ["msgpack"]),
    "a table for one package": (
        OLD_TABLE.format(name="cloudpickle", here="0.3.1", there="tcp://10.10.20.4:1 | 0.2.1"),
        [row("cloudpickle", "0.3.1", "0.2.1", "breaks")], "warned", ["cloudpickle"]),
    "a size that numpy compiled in": (
        "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88",
        [row("numpy", "1.26.4", "2.4.6", "breaks")], "named", ["numpy"]),
    "numpy's own version of its interface": (
        "RuntimeError: module compiled against API version 0x10 but this version of numpy is 0xf",
        [row("numpy", "1.26.4", "1.20", "breaks")], "named", ["numpy"]),
    "an exception as a repr in a log": (
        "Compute Failed Key: f Exception: 'ModuleNotFoundError(\"No module named \\'ESMF\\'\")'",
        [row("esmpy", "8.6.0", None, "breaks")], "named", ["esmpy"]),
    "a compression as a repr": (
        "Exception: KeyError('lz4')", [row("lz4", "4.3.3", None, "minor")], "named", ["lz4"]),
    "a module beside the notebook": (
        "ModuleNotFoundError: No module named 'foo'", [row("foo.py", "x", None, "breaks", kind="module")], "named",
        ["foo.py"]),
    "a folder beside the notebook": (
        "ModuleNotFoundError: No module named 'folder_a'", [row("folder_a/", "x", None, "breaks", kind="module")],
        "named", ["folder_a/"]),
    "a module of a package with another name": (
        "ModuleNotFoundError: No module named 'grpc'", [row("grpcio", "1.60", None, "breaks")], "named", ["grpcio"]),
    "the time zones": (
        "zoneinfo._common.ZoneInfoNotFoundError: 'No time zone found with key US/Pacific'",
        [row("tzdata", "2025.2", None, "minor")], "named", ["tzdata"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_what_people_have_reported_is_explained(name):
    text, rows, basis, causes = REPORTED[name]
    made = explain(text, diff(*rows, row("python", "3.11.7", "3.11.7", "same")))
    assert (made.basis, [cause.row.name for cause in made.causes][:1]) == (basis, causes), made.text


def test_the_modules_that_were_read_name_the_row():
    """Whatever a distribution is called; also where a module of it has the name of the standard library."""
    rows = [row("acme-core", "1.0", None, "breaks"), row("queues", "1.0", "2.0", "breaks")]
    read = [replace(rows[0], modules=("acme.inner", "acme_tools")), replace(rows[1], modules=("queue",))]
    for module, name in (("acme.inner.part", "acme-core"), ("acme_tools", "acme-core"), ("queue", "queues")):
        made = explain(f"ModuleNotFoundError: No module named '{module}'", diff(*read))
        assert [cause.row.name for cause in made.causes] == [name]


PROTOBUF = replace(row("protobuf", "5.0", None, "breaks", in_use=True), modules=("google.protobuf",))
STORAGE = replace(row("google-cloud-storage", "3.0", None, "minor"), modules=("google.cloud.storage",))
AUTH = replace(row("google-auth", "2.0", "2.1", "minor"), modules=("google.auth",))


@pytest.mark.parametrize(
    ("module", "rows", "shown", "failed"),
    [
        ("google", [PROTOBUF], ["protobuf"], ["protobuf"]),
        ("google", [STORAGE], ["google-cloud-storage"], ["google-cloud-storage"]),
        # Either was missed, so a failure shows nothing of what the notebook doesn't name.
        ("google", [PROTOBUF, STORAGE], ["protobuf", "google-cloud-storage"], ["protobuf"]),
        # The cluster has a namespace of this name, so this one isn't what was missed.
        ("google", [PROTOBUF, AUTH], ["protobuf"], ["protobuf"]),
        ("google.cloud", [PROTOBUF, STORAGE], ["google-cloud-storage"], ["google-cloud-storage"]),
        ("google.cloud.storage.blob", [PROTOBUF, STORAGE], ["google-cloud-storage"], ["google-cloud-storage"]),
        ("google.other", [PROTOBUF, STORAGE], [], []),
    ],
)
def test_a_namespace_names_the_distributions_that_lie_in_it(module, rows, shown, failed):
    text = f"ModuleNotFoundError: No module named '{module}'"
    made = explain(text, diff(*rows))
    assert names(made) == shown, made.text
    assert sorted(proven(made, text)) == sorted(failed)


def test_files_that_were_not_compared_yet_are_told_whatever_the_verdict():
    made = replace(diff(NUMPY), checked=Checked(content=False))
    for text in ("KeyError: 1", "No module named 'numpy'", "No module named 'google'"):
        assert explain(text, made).text.endswith("Files are still being compared, so there may be more.")


def test_a_workers_own_main_is_no_difference_of_dask():
    text = (
        "AttributeError: Can't get attribute 'P' on <module 'distributed.cli.dask_worker' from '/env/dask_worker.py'>"
    )
    made = explain(text, diff(row("distributed", "2026.8.0", "2026.7.0", "risky")))
    assert (made.basis, made.causes) == ("none", ())
