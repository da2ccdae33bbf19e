"""Shows in a cell how far a command is while it runs: a widget, one output that changes, or plain lines in a terminal."""

from __future__ import annotations

import html
import sys
from collections.abc import Sequence
from typing import Any

from .. import bringing
from ..commands.base import EndedSteps, present
from ..core.wire import Step, SyncStep

KEPT = 12
"""Lines that are shown at most."""
VIEW = "application/vnd.jupyter.widget-view+json"


class Progress:
    """What a command has told so far; `show` and `close` belong to the thread of the cell.

    Parameters
    ----------
    shell
        IPython's shell; only one of a kernel can change an output.

    """

    def __init__(self, shell: Any) -> None:
        self._changing = hasattr(shell, "kernel")
        self._ended = EndedSteps()
        self._lines: list[str] = []
        self._steps: tuple[Step | SyncStep, ...] = ()
        self._waiting = ""
        self._printed = 0
        self._shown: object = None
        self._handle: Any = None
        self._bar: _Bar | None = None
        self._tried = False

    def add(self, text: str) -> None:
        """Take a line, from any thread."""
        self._lines.append(text)
        self._waiting = ""

    def wait(self, text: str) -> None:
        """Take what takes long, from any thread; it is shown until there is something else to show."""
        self._waiting = text
        if not self._changing:
            self._lines.append(f"… {text}")

    def steps(self, steps: Sequence[Step | SyncStep]) -> None:
        """Take how the steps stand, from any thread."""
        self._lines += self._ended.lines(steps)
        self._steps = tuple(steps)

    def show(self) -> None:
        """Show what is new."""
        if self._changing:
            self._change(_State(self._lines, self._steps, self._waiting))
            return
        for line in self._lines[self._printed :]:
            print(line, file=sys.stderr)
            self._printed += 1

    def close(self) -> None:
        """Show the rest; what stays in a saved notebook is text."""
        self._waiting = ""
        self.show()
        if self._bar is not None:
            self._bar.close()
            self._bar, self._shown, self._steps = None, None, ()
            self.show()

    def _change(self, state: _State) -> None:
        if state.key == self._shown or not state.text:
            return
        self._shown = state.key
        if state.steps and not self._tried:
            self._tried, self._bar = True, _bar()
        if self._bar is not None:
            self._bar.show(state)
        bundle = {**state.bundle(), **(self._bar.view if self._bar is not None else {})}
        if self._handle is None:
            from IPython.display import display

            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class _State:
    """How far a command is, in words."""

    def __init__(self, lines: Sequence[str], steps: Sequence[Step | SyncStep], waiting: str) -> None:
        self.lines = list(lines)[-KEPT:]
        self.steps = steps
        self.done = sum(step.state not in ("waiting", "running") for step in steps)
        # In whole seconds, so that it changes once in a second.
        self.present = present(steps) or waiting
        self.key = (len(lines), self.done, len(steps), self.present)

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, *([f"… {self.present}"] if self.present else [])])

    def bundle(self) -> dict[str, Any]:
        style = "margin:0;font-size:var(--jp-code-font-size);color:var(--jp-content-font-color2)"
        bar = ""
        if self.present and self.steps:
            bar = f'<progress aria-label="Steps" max="{len(self.steps)}" value="{self.done}"></progress>'
        return {"text/plain": self.text, "text/html": f'{bar}<pre style="{style}">{html.escape(self.text)}</pre>'}


class _Bar:
    """The same as a widget of ipywidgets."""

    def __init__(self, widgets: Any) -> None:
        self._bar = widgets.IntProgress(min=0, max=1, value=0)
        self._text = widgets.HTML()
        self._box = widgets.VBox([self._bar, self._text])
        self.view: dict[str, Any] = {VIEW: self._box._repr_mimebundle_()[VIEW]}

    def show(self, state: _State) -> None:
        self._bar.max = max(len(state.steps), 1)
        self._bar.value = state.done
        self._bar.layout.visibility = "visible" if state.present else "hidden"
        self._text.value = f"<pre>{html.escape(state.text)}</pre>"

    def close(self) -> None:
        for widget in (self._box, self._text, self._bar):
            widget.close()


def _bar() -> _Bar | None:
    """Return a widget where the kernel has ipywidgets."""
    try:
        with bringing():
            import ipywidgets
    except ImportError:
        return None
    return _Bar(ipywidgets)
