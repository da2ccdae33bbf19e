"""Keeps the texts that read a node in that node's process, and answers short requests to it.

Evaluated once with ``exec(text, {"__name__": key})``; ``enter`` puts it into ``sys.modules`` under `key`, so that nodes
that share a process share their readings, and later requests are short.

``node(verb, …)`` returns text. ``keys``: the digests of the text ``fingerprint``; ``anew``: the same without its caches, once for
all workers of the process that are asked in one turn, which has a name of its own; ``soon``: start to read in a thread,
for a later request, and return ``working`` or ``done``; ``loaded``: what the process has loaded; ``read``: the reading with
the last result of ``content``, a JSON object ``{"keys", "content_age", "reading", "content"}``, without the last two if the
requester has them already. What may be long is packed: JSON, compressed by zlib, as Base64 text. The texts that a request
needs are sent with it, packed too, as ``{name: source}``.

Rules: Python 3.8, standard library only, never raises.
"""

import base64
import json
import sys
import threading
import types
import zlib


def _load(source, name):
    namespace = {"__name__": "coiled-jupyter " + name}
    exec(compile(source, "<coiled-jupyter " + name + ">", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


def _pack(text):
    return base64.b64encode(zlib.compress(text.encode("utf-8", "surrogateescape"), 6)).decode("ascii")


def answer(keys, probe, content, known, local, wanted, forget):
    """Return the JSON of one reading of this process; `known` is the key of the requester's last reading."""
    looked, age, result = "", None, "null"
    if content and content["look"](probe["records"], keys.split(" ")[0], local, wanted, forget):
        looked, age, result = content["last"]()
    fingerprint = keys + " " + looked
    text = json.dumps({"keys": fingerprint, "content_age": age})
    if known == fingerprint:
        return text
    return text[:-1] + ', "reading": ' + probe["probe"]() + ', "content": ' + result + "}"


class _Node(types.ModuleType):
    """The module that stays in the process."""

    def __init__(self, key, fingerprint, edits):
        super().__init__(key)
        self.texts = {"fingerprint": _load(fingerprint, "fingerprint")}
        self._edits = edits
        self._looking = None
        self._told = ("", "", "")

    def _need(self, sources):
        for name, source in sources.items():
            if name not in self.texts:
                self.texts[name] = _load(zlib.decompress(base64.b64decode(source)).decode("utf-8"), name)
                if name == "probe":
                    self.texts[name]["recall"](self.texts["fingerprint"]["HISTORY"])
                    self.texts[name]["watch"](self._edited)

    def _edited(self):
        if "edits" not in self.texts:
            # Most workers import only what an installer brought.
            if not self.texts["fingerprint"]["outside"]():
                return []
            self.texts["edits"] = _load(self._edits, "edits")
        return self.texts["edits"]["edited"]()

    def forget(self):
        for name in ("fingerprint", "probe"):
            if name in self.texts:
                self.texts[name]["forget"]()

    def _soon(self):
        if self._looking is None:
            name = "coiled-jupyter look"
            self._looking = threading.Thread(target=self.texts["probe"]["keys"], name=name, daemon=True)
            self._looking.start()
        return "working" if self._looking.is_alive() else "done"

    def _looked(self):
        if self._looking is not None:
            self._looking.join()
            self._looking = None

    def node(self, verb, sources=None, known="", wanted=()):
        try:
            self._need(sources or {})
            if verb == "soon":
                return self._soon()
            if known and self._told[:2] == (verb, known):
                return self._told[2]
            self._looked()
            if verb == "anew":
                self.forget()
            keys = self.texts["fingerprint"]["keys"](self._edited)
            if verb in ("keys", "anew"):
                self._told = (verb, known, keys)
                return keys
            if verb == "loaded":
                return _pack(self.texts["probe"]["loaded"]())
            return _pack(
                answer(keys, self.texts["probe"], self.texts.get("content"), known, False, wanted, self.forget)
            )
        except BaseException as error:
            return "error " + type(error).__name__


def enter(key, fingerprint, edits):
    """Put the module into ``sys.modules``."""
    sys.modules.setdefault(key, _Node(key, fingerprint, edits))
