"""Results of commands in a notebook: values that show themselves as text, as HTML in the theme's colours, and as JSON."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import msgspec

from ..commands.compare import MARKS, cluster_versions, told_rows
from ..core.errors import packages_needed
from ..core.wire import Diff

if TYPE_CHECKING:
    import pandas as pd

MIME = "application/vnd.coiled-jupyter.v1+json"
_COLOURS = {
    "breaks": "var(--jp-error-color1)",
    "risky": "var(--jp-warn-color1)",
    "minor": "var(--jp-info-color1)",
    "same": "var(--jp-success-color1)",
}


class Result:
    """The result of one command.

    Its attributes are those of the REST API's answer; an answer that is a list has a length and can be iterated.

    Attributes
    ----------
    command
        Such as ``cluster create``.
    value
        The answer of the REST API: a struct of `core.wire`, or a list of them.
    text
        The answer as text for a person.

    """

    def __init__(self, command: str, value: Any, lines: tuple[str, ...], *, everything: bool = False) -> None:
        self.command, self.value, self.text = command, value, "\n".join(lines)
        self._everything = everything

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *getattr(self.value, "__struct_fields__", ())]

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Any:
        return iter(self.value)

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle = {"text/plain": self.text, "text/html": self._html()}
        if self.value is not None:
            bundle[MIME] = msgspec.to_builtins(self.value)
        return bundle

    def _html(self) -> str:
        if isinstance(self.value, Diff):
            return _table(self.value, self.text, everything=self._everything)
        return f"<pre>{html.escape(self.text)}</pre>"

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row per package, cluster, layer or software environment."""
        with packages_needed():
            import pandas as pd
        if isinstance(self.value, Diff):
            return pd.DataFrame(
                [
                    {
                        "package": row.name,
                        "kernel": row.kernel.version if row.kernel else None,
                        "cluster": cluster_versions(row) or None,
                        "software": row.software.version if row.software else None,
                        "status": row.status,
                        "severity": row.severity,
                        "use": row.use,
                        "why": row.why,
                        "fix": row.fix,
                    }
                    for row in self.value.rows
                ]
            )
        items = self.value if isinstance(self.value, (list, tuple)) else [self.value]
        return pd.DataFrame([msgspec.to_builtins(item) for item in items])


def _table(diff: Diff, text: str, *, everything: bool) -> str:
    """Return a diff as an HTML table; every colour comes with a sign and a word."""
    # The first lines name the two sides, the verdict and what could not be read; the last line has the counts.
    lines = text.split("\n")
    head, foot = html.escape("\n".join(lines[: 2 + len(diff.unread)])), html.escape(lines[-1])
    rows = told_rows(diff, everything=everything)
    third = any(row.software is not None for row in diff.rows)
    body = "".join(
        "<tr>"
        f'<td style="color:{_COLOURS[row.severity]};white-space:nowrap">{MARKS[row.severity]} {row.severity}</td>'
        f"<td>{html.escape(row.name)}</td>"
        f"<td>{html.escape(row.kernel.version if row.kernel else '-')}</td>"
        f"<td>{html.escape(cluster_versions(row) or '-')}</td>"
        + (f"<td>{html.escape(row.software.version if row.software else '-')}</td>" if third else "")
        + f'<td style="text-align:left">{html.escape(row.why)} {html.escape(row.fix)}</td>'
        "</tr>"
        for row in rows
    )
    names = ["", "Package", "Here", "Cluster", *(["Software"] if third else []), "Why"]
    heads = "".join(f'<th scope="col" style="text-align:left">{name}</th>' for name in names)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<pre>{head}</pre>{table}<pre>{foot}</pre>"
