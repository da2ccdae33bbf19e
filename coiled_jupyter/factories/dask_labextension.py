"""What users of dask-labextension have in their Dask configuration: the class of their clusters, and which to start with.

The files are Dask's (``/etc/dask``, ``~/.config/dask`` …), read here without importing Dask. Keys and meaning are those of
dask-labextension 7.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..core.launch import ClusterClass
from ..core.wire import Adaptive, AdaptiveRequest, ClusterCreate
from . import gateway
from .contract import Entry, Wanted, merged

NAME = "dask-labextension"
_DISTRIBUTIONS = {
    name: (name.replace("_", "-"),)
    for name in ("coiled", "dask_cloudprovider", "dask_gateway", "dask_jobqueue", "dask_kubernetes", "dask_yarn")
}


def configuration(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the section ``labextension`` of the user's Dask configuration, with keys in one spelling."""
    environ = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    for folder in _folders(environ):
        for path in _files(folder):
            with contextlib.suppress(OSError, yaml.YAMLError, UnicodeDecodeError):
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
                if isinstance(content, dict) and isinstance(content.get("labextension"), dict):
                    found = merged(found, _spelled(content["labextension"]))
    prefix = "DASK_LABEXTENSION__"
    for name, value in sorted(environ.items()):
        if name.startswith(prefix):
            nested: Any = _value(value)
            for key in reversed(name[len(prefix) :].lower().split("__")):
                nested = {key.replace("_", "-"): nested}
            found = merged(found, nested)
    return found


def _folders(environ: Mapping[str, str]) -> list[Path]:
    """Return Dask's folders of configuration, the last one counting most."""
    folders = [
        environ.get("DASK_ROOT_CONFIG", "/etc/dask"),
        str(Path(sys.prefix, "etc", "dask")),
        str(Path("~/.config/dask").expanduser()),
    ]
    return list(map(Path, dict.fromkeys([*folders, *filter(None, [environ.get("DASK_CONFIG")])])))


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        if folder.is_dir():
            return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
    return [folder] if folder.is_file() else []


def _spelled(section: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("_", "-"): value for key, value in section.items()}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def entry(section: Mapping[str, Any] | None = None) -> Entry | None:
    """Return the kind of cluster that is configured; None where there is none, or just Dask's own local one."""
    section = configuration() if section is None else section
    factory = section.get("factory")
    if not isinstance(factory, Mapping):
        return None
    factory = _spelled(factory)
    module, name = factory.get("module"), factory.get("class")
    args, kwargs = factory.get("args") or [], factory.get("kwargs") or {}
    if not (
        isinstance(module, str) and isinstance(name, str) and isinstance(args, list) and isinstance(kwargs, Mapping)
    ):
        return None
    if name == "LocalCluster" and not args and not kwargs:
        return None
    keywords = {str(key).replace("-", "_"): value for key, value in kwargs.items()}
    default = section.get("default")
    workers = default.get("workers") if isinstance(default, Mapping) else None

    def make(wanted: Wanted) -> ClusterClass:
        return ClusterClass(module=module, name=name, args=tuple(args), kwargs=keywords)

    return Entry(
        name=NAME,
        title=f"{name} of your Dask configuration",
        description=f"What labextension.factory configures: {name} of {module}",
        requires=_DISTRIBUTIONS.get(module.partition(".")[0], ()),
        make=make,
        login=gateway.LOGIN if module.partition(".")[0] == "dask_gateway" else (),
        adaptive=adaptive(_spelled(default)) if isinstance(default, Mapping) else None,
        workers=workers if isinstance(workers, int) and not isinstance(workers, bool) and workers >= 0 else 0,
    )


def adaptive(section: Mapping[str, Any]) -> Adaptive | None:
    """Return the bounds of ``default.adapt`` or of an initial cluster's ``adapt``, which comes before ``workers``."""
    bounds = section.get("adapt")
    if not isinstance(bounds, Mapping):
        return None
    low, high = bounds.get("minimum", 0), bounds.get("maximum")
    if isinstance(low, int) and isinstance(high, int) and 0 <= low <= high and high:
        return Adaptive(minimum=low, maximum=high)
    return None


def initial(section: Mapping[str, Any]) -> list[ClusterCreate]:
    """Return the clusters of ``labextension.initial``, which start with the server."""
    factory = NAME if entry(section) is not None else None
    found = []
    for one in section.get("initial") or ():
        if isinstance(one, Mapping):
            bounds, workers, name = adaptive(one), one.get("workers"), one.get("name")
            found.append(
                ClusterCreate(
                    name=str(name)[:80] if name else None,
                    factory=factory,
                    adaptive=AdaptiveRequest(minimum=bounds.minimum, maximum=bounds.maximum) if bounds else None,
                    workers=workers if isinstance(workers, int) and workers >= 0 and not bounds else None,
                )
            )
    return found
