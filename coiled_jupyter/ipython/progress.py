"""Shows in a cell how far a command is while it runs: one output that changes, or plain lines in a terminal."""

from __future__ import annotations

import html
import sys
from typing import Any

KEPT = 12
"""Lines that are shown at most."""


class Progress:
    """What a command has told so far; `show` and `close` belong to the thread of the cell.

    Parameters
    ----------
    shell
        IPython's shell; only one of a kernel can change an output.

    """

    def __init__(self, shell: Any) -> None:
        self._changing = hasattr(shell, "kernel")
        self._lines: list[str] = []
        self._shown = 0
        self._handle: Any = None

    def add(self, text: str) -> None:
        """Take a line, from any thread."""
        self._lines.append(text)

    def show(self) -> None:
        """Show what is new."""
        lines = list(self._lines)
        if len(lines) == self._shown:
            return
        new, self._shown = lines[self._shown :], len(lines)
        if not self._changing:
            for line in new:
                print(line, file=sys.stderr)
            return
        from IPython.display import display

        bundle = _bundle(lines[-KEPT:])
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """Show the rest."""
        self.show()


def _bundle(lines: list[str]) -> dict[str, str]:
    text = "\n".join(lines)
    style = "margin:0;font-size:var(--jp-code-font-size);color:var(--jp-content-font-color2)"
    return {"text/plain": text, "text/html": f'<pre style="{style}">{html.escape(text)}</pre>'}
