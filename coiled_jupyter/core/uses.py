"""Decides which packages a notebook uses: what its own code imports, what that needs, and what else was loaded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .explain import DISTRIBUTIONS
from .names import normal
from .reading import ReadPackage
from .wire import Use

OPENERS = ("dask", "distributed")
"""Opening a client of some releases imports what these require by an extra: that says nothing of the notebook."""
Requirements = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""By distribution: what it requires, and what its extras require."""


def distributions_of(modules: Collection[str]) -> set[str]:
    """Return the distributions that modules may belong to, by their names and by what is known of others."""
    names = {normal(name) for name in modules}
    return names | {name for module in modules for name in DISTRIBUTIONS.get(module, ())}


def uses(packages: Iterable[ReadPackage], named: Collection[str], requires: Requirements) -> dict[str, tuple[Use, str]]:
    """Return for each package in use how it is, and the package that needs it (``""`` where none is known to).

    Parameters
    ----------
    packages
        What the kernel has installed and loaded; its own imports count as ``imported`` already.
    named
        Modules that the notebook's source names, also below a top-level one.

    """
    packages = list(packages)
    brought = {module for package in packages for module in package.modules}
    spaces = {name[:at] for name in brought for at, letter in enumerate(name) if letter == "."}
    # What was read to bring a module beats what its name suggests.
    suggested = distributions_of([name for name in named if name not in brought | spaces])
    suggested -= {normal(name) for name in brought}
    imported = {
        package.name
        for package in packages
        if package.use == "imported" or package.name in suggested or not _apart(package.modules).isdisjoint(named)
    }
    loaded = {package.name for package in packages if package.use == "loaded"} - imported
    needed = _needed(sorted(imported), requires)
    extras = [
        name
        for opener in OPENERS
        if opener in imported or opener in needed
        for name in requires.get(opener, ((), ()))[1]
    ]
    opened = {*extras, *_needed(extras, requires)} - set(OPENERS)
    found: dict[str, tuple[Use, str]] = dict.fromkeys(imported, ("imported", ""))
    for name in loaded:
        if name in needed:
            found[name] = ("needed", needed[name])
        elif name not in opened:
            found[name] = ("loaded", "")
    return found


def _apart(modules: Collection[str]) -> set[str]:
    """Return modules without those that several distributions share, of which what lies in them is named."""
    shared = {module.split(".")[0] for module in modules if "." in module}
    return {module for module in modules if module not in shared}


def _needed(roots: Iterable[str], requires: Requirements) -> dict[str, str]:
    """Return ``{package: the root that needs it}`` of all that the roots require, at any distance."""
    found: dict[str, str] = {}
    waiting = [(name, root) for root in roots for name in requires.get(root, ((), ()))[0]]
    while waiting:
        name, root = waiting.pop(0)
        if name not in found:
            found[name] = root
            waiting += [(other, root) for other in requires.get(name, ((), ()))[0]]
    return found
