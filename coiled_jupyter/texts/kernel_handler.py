"""Installs, in a kernel, a control-channel handler that answers readings of the kernel's own process.

Evaluated once by a silent execute request at kernel start or first idle (``install``); from then on the request type
below is answered in the kernel's control thread, also while a cell runs, without running a cell.

Rules: Python 3.8, standard library only, imports nothing of ours, leaves no name in the user's namespace, never raises.
Request content ``{"verb": "read", "known": key}``; ``{"verb": "clients"}``, ``{"verb": "begin", "request": …}`` or
``{"verb": "result", "ticket": …}`` (the text ``clients``); ``{"verb": "change", "scheduler": id, "seal": bool}`` (the text
``seal``); ``{"verb": "roll", "request": …}`` (the text ``local_roll``) and ``{"verb": "relay", "request": …}`` (the text
``relay``). Reply content ``{"status": "ok", "text": JSON}`` or ``{"status": "error", "reason": text}``. The JSON of ``read``
is what the text ``node`` calls a reading.
"""

import json
import sys

REQUEST = "coiled_jupyter_request"
REPLY = "coiled_jupyter_reply"


def _load(name, source):
    # Namespaces of their own: the texts keep their caches and their baseline out of the user's namespace.
    namespace = {"__name__": "coiled_jupyter_" + name}
    exec(compile(source, "<coiled-jupyter " + name + ">", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def _load_magic(shell, kernel):
    """Load ``%coiled``, in the thread of the cells, if our package is installed."""
    import importlib.util

    if importlib.util.find_spec("coiled_jupyter") is None:
        return

    def load():
        try:
            shell.extension_manager.load_extension("coiled_jupyter")
        except BaseException:
            # Loading it by hand shows the error.
            return

    kernel.io_loop.add_callback(load)


def install(sources, magic=False):
    """Install the handler and return JSON: ``{"ok": bool, "reason": str}``; `sources` is ``{name: source}``.

    With `magic`, the kernel's own copy of our package, if there is one, is loaded for ``%coiled``.
    """
    try:
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython is not None else None
        kernel = getattr(shell, "kernel", None)
        handlers = getattr(kernel, "control_handlers", None)
        if not isinstance(handlers, dict):
            return json.dumps({"ok": False, "reason": "this kernel has no control handlers (it isn't ipykernel)"})
        # Few kernels are asked for their Dask clients, to seal, to roll or to relay: these texts are loaded on demand.
        seldom = ("clients", "seal", "local_roll", "relay")
        texts = {n: _load(n, s) for n, s in sources.items() if n not in seldom}
        texts["probe"]["watch"](texts["edits"]["edited"])
        texts["probe"]["baseline"](getattr(shell, "execution_count", 0) == 1, [shell.user_ns])

        def handle(stream, ident, parent):
            try:
                asked = parent.get("content", {})
                verb = asked.get("verb")
                calls = {
                    "clients": ("clients", "clients"),
                    "begin": ("clients", "begin", asked.get("request")),
                    "result": ("clients", "result", asked.get("ticket")),
                    "change": ("seal", "change", asked.get("scheduler"), asked.get("seal")),
                    "roll": ("local_roll", "call", asked.get("request")),
                    "relay": ("relay", "call", asked.get("request")),
                }
                if verb == "read":
                    known = str(asked.get("known", ""))
                    keys = texts["probe"]["keys"]()
                    text = texts["node"]["answer"](
                        keys, texts["probe"], texts["content"], known, True, (), texts["probe"]["forget"]
                    )
                    content = {"status": "ok", "text": text}
                elif verb in calls:
                    name, function, *given = calls[verb]
                    if name not in texts:
                        texts[name] = _load(name, sources[name])
                    content = {"status": "ok", "text": texts[name][function](*given)}
                else:
                    content = {"status": "error", "reason": "unknown verb"}
            except BaseException as error:
                content = {"status": "error", "reason": type(error).__name__}
            kernel.session.send(stream, REPLY, content, parent, ident=ident)

        handlers[REQUEST] = handle
        if magic:
            try:
                _load_magic(shell, kernel)
            except Exception:
                # The handler works without the magic, which can be loaded by hand.
                pass
        return json.dumps({"ok": True, "reason": ""})
    except BaseException as error:
        return json.dumps({"ok": False, "reason": "the handler could not be installed: " + type(error).__name__})
