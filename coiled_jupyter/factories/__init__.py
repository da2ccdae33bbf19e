"""The table of cluster factories: which kinds of cluster there are, and the options that each declares."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.errors import Invalid
from ..core.wire import Factory, Option

Value = str | int | float | bool | None

_FACTORIES = (
    Factory(
        name="local",
        description="Scheduler and workers on this machine, each in a process of its own, over TLS on loopback",
        options={
            "dashboard": Option(
                type="boolean",
                description="Dask's own dashboard, on loopback; every user of this machine can open it",
                default=False,
            )
        },
    ),
)
_TYPES: dict[str, tuple[type, ...]] = {"boolean": (bool,), "integer": (int,), "number": (int, float), "string": (str,)}


def describe() -> tuple[Factory, ...]:
    """Return all factories."""
    return _FACTORIES


def check_options(factory: str, options: Mapping[str, Value]) -> dict[str, Value]:
    """Return the options with defaults filled in; Invalid names the first that isn't declared or of another type."""
    declared = next((f.options for f in _FACTORIES if f.name == factory), None)
    if declared is None:
        raise Invalid("factory", f"There is no cluster factory {factory}")
    for name, value in options.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise Invalid(f"options.{name}", f"{factory} clusters have no option {name[:80]}; they have: {known}")
        option = declared[name]
        allowed = isinstance(value, _TYPES[option.type]) and (option.type == "boolean" or not isinstance(value, bool))
        if not allowed:
            raise Invalid(f"options.{name}", f"{name} must be a {option.type}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = option.minimum, option.maximum
            if (low is not None and value < low) or (high is not None and not value <= high):
                raise Invalid(f"options.{name}", f"{name} must be from {low} to {high}")
    return {name: options.get(name, option.default) for name, option in declared.items()}
