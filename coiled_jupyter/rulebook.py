"""The files of rules: an administrator's, this user's, and what happens when one of them can't be used."""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from . import paths
from .core.errors import CoiledError, Conflict, Invalid
from .core.names import normal
from .core.rules import PROTECTED, SIZE_LIMIT, RuleFile, RuleSet, check_name, combine, parse
from .core.wire import Rules, RulesChange, Severity

_IGNORE = re.compile(r"(?ms)^ignore[ \t]*=[ \t]*\[.*?\][ \t]*\n?")
_OVERRIDES = re.compile(
    r"(?m)^\[overrides\][^\n]*(?:\n[ \t]*(?:[\w.-]+|\"[^\"\n]*\"|'[^'\n]*')[ \t]*=[^\n]*|\n[ \t]*(?=\n))*\n?"
)
_State = tuple[int, int, int] | None


class RuleBook:
    """The rules that hold now; a file that was changed is read again, a damaged one never breaks a diff.

    Parameters
    ----------
    admin
        The file of the trait ``rules_file``.
    user
        The user's own file, ``rules.toml`` of the data folder if left out.

    """

    def __init__(self, admin: Path | None = None, user: Path | None = None) -> None:
        self._admin = admin
        self._user = user
        self._seen: tuple[object, ...] | None = None
        self._rules = combine()
        self._faults: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The user's file."""
        return self._user or paths.data_dir() / "rules.toml"

    def rules(self) -> RuleSet:
        """Return the rules of all files that can be used."""
        faults: list[str] = []
        own: Path | None = None
        try:
            own = self.path
        except CoiledError as error:
            faults.append(f"Your rules can't be used: {error.message}")
        seen = (_state(self._admin), _state(own), *faults)
        if seen != self._seen:
            admin = _usable(self._admin, "The administrator's rules", faults)
            user = _usable(own, f"Your rules ({own})", faults, needed=self._user is not None)
            self._rules, self._faults, self._seen = combine(admin=admin, user=user), tuple(faults), seen
        return self._rules

    def to_wire(self) -> Rules:
        """Return the answer of ``GET rules``."""
        return self.rules().to_wire(self._faults)

    def change(self, body: RulesChange) -> Rules:
        """Write this user's ignores and overrides, and return what holds then.

        Raises
        ------
        Invalid
            A name isn't valid, or can't be ignored; nothing was written.
        Conflict
            The file has a fault, of which writing would destroy the evidence.

        """
        ignores = None if body.ignores is None else _ignorable(body.ignores)
        changes = {check_name(name, "overrides"): severity for name, severity in (body.overrides or {}).items()}
        try:
            text = _read(self.path) or ""
            file = parse(text)
        except Invalid as fault:
            raise Conflict(
                f"Your rules can't be changed while their file has a fault: {fault.message}",
                f"Repair or remove {self.path}",
            ) from None
        overrides: dict[str, Severity] = {normal(name.strip()): severity for name, severity in file.overrides.items()}
        for name, severity in changes.items():
            if severity is None:
                overrides.pop(name, None)
            else:
                overrides[name] = severity
        wanted = replace(file, ignore=file.ignore if ignores is None else ignores, overrides=overrides)
        paths.write(self.path, rewritten(text, wanted).encode())
        return self.to_wire()


def _ignorable(names: tuple[str, ...]) -> tuple[str, ...]:
    checked = sorted({check_name(name, "ignores") for name in names})
    for name in checked:
        if name in PROTECTED:
            raise Invalid(
                "ignores",
                f"{name} can't be ignored: when it doesn't match, no task runs, whatever else is equal",
                "Rate it otherwise with an override; its row then says so",
            )
    return tuple(checked)


def _state(path: Path | None) -> _State:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return found and (found.st_ino, found.st_mtime_ns, found.st_size)


def _usable(path: Path | None, whose: str, faults: list[str], *, needed: bool = True) -> RuleFile | None:
    """Return a file's rules; where they can't be used, None, with the reason among the faults."""
    if path is None:
        return None
    try:
        text = _read(path)
        if text is None:
            if needed:
                faults.append(f"{whose} can't be used: there is no such file.")
            return None
        file = parse(text)
    except Invalid as fault:
        faults.append(f"{whose} can't be used: {fault.message}. All other rules hold.")
        return None
    refused = sorted({normal(name.strip()) for name in file.ignore} & PROTECTED)
    if refused:
        faults.append(f"{whose} would ignore {', '.join(refused)}, which can't be ignored.")
    return file


def _read(path: Path) -> str | None:
    """Return a file's text, None if it isn't there; Invalid if it can't be read."""
    try:
        # Whatever else a path names could be without end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise Invalid("rules", "it is no file")
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid("rules", f"the file can't be read ({error.strerror})") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("rules", "the file isn't text in UTF-8") from None


def rewritten(text: str, wanted: RuleFile) -> str:
    """Return the file's text with what it ignores and overrides replaced, its comments kept where possible."""
    rest = _OVERRIDES.sub("", _IGNORE.sub("", text, count=1), count=1).strip("\n")
    ignore = f"ignore = {_list(wanted.ignore)}\n"
    overrides = "\n[overrides]\n" + _table(wanted.overrides) if wanted.overrides else ""
    edited = ignore + (f"{rest}\n" if rest else "") + overrides
    with contextlib.suppress(Invalid):
        if parse(edited) == wanted:
            return edited
    return ignore + overrides + tables(wanted)


def tables(file: RuleFile) -> str:
    """Return everything of a file of rules but its list of ignored names, as TOML."""
    parts = ["\n[names]\n" + _table(file.names)] if file.names else []
    parts += [f"\n[[only]]\nnames = {_list(only.names)}\nmarker = {_value(only.marker)}\n" for only in file.only]
    for rule in file.rule:
        given = {key: getattr(rule, key) for key in rule.__struct_fields__}
        parts.append("\n[[rule]]\n" + _table({key: v for key, v in given.items() if v not in (None, ())}, quoted=False))
    return "".join(parts)


def _table(values: Mapping[str, object], *, quoted: bool = True) -> str:
    return "".join(f"{_value(key) if quoted else key} = {_value(value)}\n" for key, value in values.items())


def _list(values: tuple[object, ...]) -> str:
    return "[" + ", ".join(map(_value, values)) + "]"


def _value(value: object) -> str:
    # A basic string of TOML is written as JSON writes it, but for DEL.
    return (
        _list(value) if isinstance(value, tuple) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    )
