"""Installs, in a kernel, a control-channel handler that answers readings of the kernel's own process.

Evaluated once by a silent execute request at kernel start or first idle (``install``); from then on the request type
below is answered in the kernel's control thread, also while a cell runs, without running a cell.

Rules: Python 3.8, standard library only, nothing of ours imported, no name left in the user's namespace, never raises.
Request content ``{"verb": "probe" | "fingerprint" | "clients"}``, ``{"verb": "begin", "request": …}`` or
``{"verb": "result", "ticket": …}`` (the last three: ``texts/clients.py``); reply content
``{"status": "ok", "text": JSON}`` or ``{"status": "error", "reason": text}``.
"""

import json
import sys

REQUEST = "coiled_jupyter_request"
REPLY = "coiled_jupyter_reply"


def install(probe_source, clients_source):
    """Install the handler and return JSON: ``{"ok": bool, "reason": str}``."""
    try:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        kernel = getattr(shell, "kernel", None)
        handlers = getattr(kernel, "control_handlers", None)
        if not isinstance(handlers, dict):
            return json.dumps({"ok": False, "reason": "this kernel has no control handlers (it isn't ipykernel)"})
        # A namespace of its own: the probe keeps its caches and its baseline in it, out of the user's sight.
        namespace = {"__name__": "coiled_jupyter_probe"}
        exec(compile(probe_source, "<coiled-jupyter probe>", "exec"), namespace)  # noqa: S102 - our own text
        namespace["baseline"](getattr(shell, "execution_count", 0) == 1, [shell.user_ns])
        through = {"__name__": "coiled_jupyter_clients"}

        def handle(stream, ident, parent):
            try:
                asked = parent.get("content", {})
                verb = asked.get("verb", "probe")
                arguments = {"clients": (), "begin": (asked.get("request"),), "result": (asked.get("ticket"),)}
                if verb in ("probe", "fingerprint"):
                    content = {"status": "ok", "text": namespace[verb]()}
                elif verb in arguments:
                    if verb not in through:
                        # Not at the installing: most kernels are never asked.
                        exec(compile(clients_source, "<coiled-jupyter clients>", "exec"), through)  # noqa: S102
                    content = {"status": "ok", "text": through[verb](*arguments[verb])}
                else:
                    content = {"status": "error", "reason": "unknown verb"}
            except BaseException as error:
                content = {"status": "error", "reason": type(error).__name__}
            kernel.session.send(stream, REPLY, content, parent, ident=ident)

        handlers[REQUEST] = handle
        return json.dumps({"ok": True, "reason": ""})
    except BaseException as error:
        return json.dumps({"ok": False, "reason": "the handler could not be installed: " + type(error).__name__})
