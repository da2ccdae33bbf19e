"""Takes what may be secret out of texts that a person gives to others: credentials of URLs, tokens, passwords, the home folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "****"
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']{1,500}@")
_NAMED = re.compile(
    r"""(?ix)
    (\b[\w.-]{0,60}? (?: token | passw(?:or)?d | passphrase | secret | api[_-]?key | access[_-]?key | credential s?
        | private[_-]?key ) [\w-]{0,30} ["']? \s{0,3} [:=]{1,2} \s{0,3} )
    ("[^"\n]{0,4000}" | '[^'\n]{0,4000}' | [^\s,;&)\]}"']{1,4000})
    """
)
_HEADER = re.compile(r"(?i)(\b(?:authorization|cookie|x-[\w-]{0,40}key)\b[\"']?\s{0,3}[:=]\s{0,3}).{1,4000}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,4000}")
_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,20000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)


def text(value: str, homes: Sequence[str] = ()) -> str:
    """Return a text without what looks like a secret; folders of `homes` become ``~``."""
    value = _PEM.sub(f"-----PRIVATE KEY {HIDDEN}-----", value)
    value = _CREDENTIALS.sub(f"{HIDDEN}@", value)
    value = _HEADER.sub(rf"\g<1>{HIDDEN}", value)
    value = _BEARER.sub(rf"\g<1> {HIDDEN}", value)
    value = _NAMED.sub(rf"\g<1>{HIDDEN}", value)
    for home in sorted((home.rstrip("/") for home in homes), key=len, reverse=True):
        # The root's home on its own would take the first letter of every path.
        if len(home) > 1:
            value = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", value)
    return value


def everything(value: Any, homes: Sequence[str] = ()) -> Any:
    """Return plain data (of JSON) with every text in it, keys too, as `text` gives it."""
    if isinstance(value, str):
        return text(value, homes)
    if isinstance(value, dict):
        return {text(str(key), homes): everything(item, homes) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [everything(item, homes) for item in value]
    return value
