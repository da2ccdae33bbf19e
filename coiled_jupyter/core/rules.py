"""How bad a difference is, why, and what to do: decided here, once, for panel, command line and magic alike."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from .wire import RowStatus, Severity

ORDER: tuple[Severity, ...] = ("block", "warn", "note", "ok")

PROTOCOL = frozenset({"dask", "distributed"})
SERIALIZERS = frozenset({"cloudpickle", "msgpack", "tornado"})
DATA = frozenset(
    {
        "awkward", "cudf", "cupy", "dask-ml", "geopandas", "h5py", "jax", "joblib", "lightgbm", "networkx", "numba",
        "numpy", "pandas", "polars", "pyarrow", "scikit-image", "scikit-learn", "scipy", "shapely", "sparse", "statsmodels",
        "torch", "xarray", "xgboost", "zarr",
    }
)  # fmt: skip
"""Libraries whose objects are pickled to workers and back."""
TOOLS = frozenset(
    {
        "asttokens", "coiled-jupyter", "comm", "debugpy", "decorator", "executing", "ipykernel", "ipython",
        "ipython-pygments-lexers", "ipywidgets", "jedi", "jupyter-client", "jupyter-core", "jupyterlab-widgets",
        "matplotlib-inline", "nest-asyncio", "nest-asyncio2", "parso", "pexpect", "pip", "prompt-toolkit", "ptyprocess",
        "pure-eval", "pygments", "pyzmq", "setuptools", "stack-data", "traitlets", "uv", "wcwidth", "wheel",
        "widgetsnbextension",
    }
)  # fmt: skip
"""What the notebook itself runs on, and installers: tasks don't use them."""
SCHEDULER = PROTOCOL | SERIALIZERS | {"python", "toolz", "lz4", "zict"}
"""What a scheduler, which runs no tasks, needs equal."""


@dataclass(frozen=True)
class Rating:
    """A severity with its reason and remedy, plain English sentences."""

    severity: Severity
    why: str
    fix: str


def worst(ratings: list[Rating]) -> Rating:
    """Return the most severe rating, the first of equals."""
    return min(ratings, key=lambda rating: ORDER.index(rating.severity))


def rate_versions(name: str, kernel: str, cluster: str, *, in_use: bool) -> Rating:
    """Rate two versions that differ."""
    part = _first_difference(kernel, cluster)
    if name == "python":
        return _python(part)
    if name in PROTOCOL:
        if part == "patch":
            return Rating("warn", "Dask itself differs in its patch release.", "Use one release of Dask on both sides.")
        why = "Dask's own releases differ: scheduler, workers and notebook don't speak the same protocol."
        return Rating("block", why, "Use one release of dask and distributed on both sides.")
    if name in SERIALIZERS:
        severity: Severity = "block" if part in ("major", "text") else "warn"
        return Rating(severity, f"{name} carries every message and task between notebook and cluster.", _same(name))
    if name in DATA:
        if part in ("major", "text"):
            return Rating("block", f"Objects of {name} pickled on one side may not load on the other.", _same(name))
        if part == "minor":
            return Rating("warn", f"Results of {name} may differ between notebook and workers.", _same(name))
        return Rating("note", f"{name} differs in its patch release.", _same(name))
    if name in TOOLS:
        return Rating("ok", "A tool of the notebook; tasks don't use it.", "")
    if in_use and part in ("major", "text"):
        return Rating("warn", f"This notebook imports {name}, and workers have another major version.", _same(name))
    return Rating("note", f"Workers have another version of {name}.", _same(name))


def _python(part: str) -> Rating:
    if part == "patch":
        return Rating("note", "Python differs in its patch release only.", "Nothing has to be done.")
    why = "Functions pickled by one Python don't load in another and can crash workers and the scheduler."
    return Rating("block", why, "Start the cluster with the notebook's Python.")


def _same(name: str) -> str:
    return f"Install the same {name} on both sides."


def _first_difference(a: str, b: str) -> str:
    """Return which part of two unequal versions differs first: major, minor, patch or text."""
    try:
        left, right = Version(a), Version(b)
    except InvalidVersion:
        return "text"
    if (left.epoch, left.major) != (right.epoch, right.major):
        return "major"
    if left.minor != right.minor:
        # Below 1.0 the second number is the one that breaks.
        return "minor" if left.major else "major"
    return "patch"


def equal_versions(a: str, b: str) -> bool:
    """Whether two versions are one by PEP 440; text that is no version is compared as text."""
    try:
        return Version(a) == Version(b)
    except InvalidVersion:
        return a == b


def rate_status(status: RowStatus, name: str, *, in_use: bool) -> Rating:
    """Rate what isn't a difference of two versions."""
    if name in TOOLS and status in ("only_kernel", "only_cluster"):
        return Rating("ok", "A tool of the notebook or an installer; tasks don't use it.", "")
    if status == "only_kernel":
        if in_use:
            why = f"This notebook imports {name}; a task that uses it fails on workers with ModuleNotFoundError."
            return Rating("block", why, f"Install {name} on the cluster.")
        return Rating("note", f"{name} is only in the notebook's environment.", f"Install {name} if tasks need it.")
    if status == "only_cluster":
        return Rating("note", f"{name} is only on the cluster.", "Nothing has to be done.")
    if status == "broken":
        severity: Severity = "block" if in_use else "warn"
        return Rating(severity, f"The installation of {name} is damaged.", f"Reinstall {name}.")
    if status == "content_differs":
        why = f"Both have this version of {name}, but from different sources, so its code may differ."
        return Rating("warn", why, f"Install {name} from one source on both sides.")
    if status == "unknown":
        return Rating("warn", f"{name} could not be read everywhere.", "Look at what could not be read.")
    return Rating("ok", "", "")
