"""Keeps the texts that read a node in that node's process, and answers requests to it shortly.

Evaluated once with ``exec(text, {"__name__": key, "PROBE": source, ...})``; it enters itself in ``sys.modules`` under
`key`, so that nodes that share a process share their readings, and later requests are short.

``node(verb, …)`` returns text: ``keys`` what the probe's ``keys`` does, ``loaded`` what its ``loaded`` does, ``read``
the reading with the last result of the look at files (`CONTENT`, where it was sent): a JSON object
``{"keys", "content_age", "reading", "content"}``, without the last two where the asker knows them already.
What may be long is packed: JSON, compressed by zlib, as Base64 text.

Rules: Python 3.8, standard library only, never raises.
"""

import base64
import json
import sys
import time
import types
import zlib


def _load(source, name):
    namespace = {"__name__": name}
    exec(compile(source, "<" + name + ">", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def _pack(text):
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogateescape"), 6)).decode("ascii")


def answer(probe, content, known, local, wanted):
    """Return the JSON of one reading of this process; `known` is the key that the asker had last."""
    keys = probe["keys"]()
    looked = content["look"](probe["records"](), keys.split(" ")[0], local, wanted) if content else ""
    result = content["result"]() if looked else "null"
    parts = json.loads(result) or {}
    mark = keys + " " + looked
    age = max(time.time() - parts["at"], 0.0) if "at" in parts else None
    told = {"keys": mark, "content_age": age}
    text = json.dumps(told)
    if known == mark:
        return text
    return text[:-1] + ', "reading": ' + probe["probe"]() + ', "content": ' + result + "}"


class _Node(types.ModuleType):
    """The module that stays in the process."""

    def __init__(self, key, probe):
        super().__init__(key)
        self.probe = _load(probe, "coiled-jupyter probe")
        self.content = None

    def node(self, verb, known="", wanted=(), content=None):
        try:
            if verb == "keys":
                return self.probe["keys"]()
            if verb == "loaded":
                return _pack(self.probe["loaded"]())
            if content is not None and self.content is None:
                self.content = _load(zlib.decompress(content).decode("utf-8"), "coiled-jupyter content")
            return _pack(answer(self.probe, self.content, known, False, wanted))
        except BaseException as error:
            return "error " + type(error).__name__


def enter(key, probe):
    """Enter the module in ``sys.modules``."""
    sys.modules.setdefault(key, _Node(key, probe))
