"""Takes what may be secret out of texts that a person gives to others: credentials, tokens, passwords, the home folder.

Where it is in doubt whether something is secret, it goes: a report that lacks a word is still a report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "****"
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r".{0,20000}?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# A password may hold "@", and after a user's name ":" also "/"; what follows the last "@" is the host.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/\s\"]{1,2000}|[^/\s\":@]{0,500}:[^\s\"]{1,2000})@")
_NAME = r"""(?:
    \w* (?: token | passw(?:or)?d | passphrase | secret | apikey | credential )
    | (?:api|access|account|shared|private|secret|encryption|signing|master|license|service) [_-]? (?:access[_-]?)? key
    | (?<![a-z]) (?: pass | sig | signature | auth | pwd (?!\s*[:=]\s*["']?/) | cookie | connection[_-]?string ) (?![a-z])
    | (?-i:(?<=[a-z]) (?:Pass|Pwd|Auth) (?![a-z]))
    ) s? (?: [_-]? (?:base|value|prod|dev|test|hash|key|id|\d{1,3}) )? """
_QUOTED = r'''(?: """.{0,4000}?""" | \'\'\'.{0,4000}?\'\'\' | "(?:\\.|[^"\\]){0,4000}" | '(?:\\.|[^'\\]){0,4000}' )'''
_BARE = r"(?: (?![&;]\s*[\w.%\[\]-]+=) \S | (?<=\\)\n ){1,4000}"
# A value in YAML that follows in the next lines, each indented.
_BLOCK = r"[|>][+-]?\d?[ \t]*\n(?:[ \t]+.*(?:\n|\Z)|[ \t]*\n){1,400}"
_ASSIGNS = r"""["']? [ \t]{0,9} (?: := | [:=](?!=) ) [ \t]{0,9}"""
_FLAGS = re.IGNORECASE | re.VERBOSE
_BLOCKS = re.compile(rf"(\b[\w.-]{{0,60}}? {_NAME} {_ASSIGNS}) {_BLOCK}", _FLAGS)
_LINES = re.compile(
    rf"""(^[ \t]* (?:[-\#*{{,]\s*|export\s+|set\s+)? ["']? [\w.-]{{0,60}}? {_NAME} {_ASSIGNS})
    (?: {_QUOTED.replace(".{", "(?s:.){")} [^\n]* | [^\n\s&;][^\n]{{0,4000}} )""",
    _FLAGS | re.MULTILINE,
)
_NAMED = re.compile(rf"(\b[\w.-]{{0,60}}? {_NAME} {_ASSIGNS}) (?: {_QUOTED} | {_BARE} )", _FLAGS | re.DOTALL)
_OPTIONS = re.compile(
    rf"""(--? [\w-]{{0,60}}? {_NAME} (?: \s+ | ["']\s*,\s* )) (?: {_QUOTED} | \S{{1,4000}} )""", _FLAGS | re.DOTALL
)
# Programs whose short option takes a password.
_PROGRAM = re.compile(
    r"\b(?:sshpass|mysql\w*|mariadb\w*|twine|ldap\w+|curl|wget|(?:docker|podman|helm|az)\s+login)\b[^\n]{0,8000}"
)
_SHORT = re.compile(r"(\s-[pwu])(\s*)(?:\"[^\"]{0,4000}\"|'[^']{0,4000}'|\S{1,4000})")
_HEADER = re.compile(
    r"(?i)(\b(?:(?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]{0,40}(?:key|token|secret|auth))\b[\"']?\s{0,3}[:=]\s{0,3})"
    r".{1,4000}"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,4000}")
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(
        (
            r"gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}",  # GitHub
            r"gl[a-z]{2,6}-[\w.-]{20,255}",  # GitLab
            r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",  # AWS
            r"xox[a-z]-[\w-]{10,255}|xapp-[\w-]{10,255}|(?<=hooks\.slack\.com/services/)[\w/]{10,255}",  # Slack
            r"eyJ[\w-]{8,4000}\.[\w-]{8,4000}(?:\.[\w-]{0,4000}){0,3}",  # JSON Web Tokens
            r"pypi-[\w-]{40,4000}",
            r"npm_[A-Za-z0-9]{30,255}",
            r"(?<=/t/)(?:[a-z]{2}-[\w-]{12,255}|[0-9a-f-]{20,255})",  # Anaconda, in the URL of a channel
            r"hf_[A-Za-z0-9]{20,255}|api_org_[A-Za-z0-9]{20,255}",  # Hugging Face
            r"AIza[\w-]{30,255}|ya29\.[\w.-]{20,4000}|GOCSPX-[\w-]{20,255}",  # Google
            r"[\w~.-]{3}[78]Q~[\w~.-]{31,40}",  # Azure
            r"sk-[\w-]{20,255}|[rs]k_(?:live|test)_\w{16,255}",  # OpenAI, Anthropic, Stripe
            r"SG\.[\w-]{16,64}\.[\w-]{16,64}",  # SendGrid
            r"do[opr]_v1_[a-f0-9]{32,255}|dapi[a-f0-9]{32,64}|dckr_pat_[\w-]{20,255}",  # DigitalOcean, Databricks, Docker
            r"hv[sbr]\.[\w-]{20,255}|glsa_\w{20,255}|AGE-SECRET-KEY-1[A-Z0-9]{50,64}|ATATT3[\w=-]{50,255}",
        )
    )
    + ")"
)
_KEY = re.compile(rf"[\w.-]{{0,60}}? {_NAME}", _FLAGS)


def text(value: str, homes: Sequence[str] = ()) -> str:
    """Return a text without what looks like a secret; folders of `homes` become ``~``."""
    value = _PEM.sub(f"-----PRIVATE KEY {HIDDEN}-----", value)
    value = _CREDENTIALS.sub(f"{HIDDEN}@", value)
    value = _HEADER.sub(rf"\g<1>{HIDDEN}", value)
    value = _BLOCKS.sub(rf"\g<1>{HIDDEN}\n", value)
    value = _LINES.sub(rf"\g<1>{HIDDEN}", value)
    value = _NAMED.sub(rf"\g<1>{HIDDEN}", value)
    value = _OPTIONS.sub(rf"\g<1>{HIDDEN}", value)
    value = _PROGRAM.sub(lambda line: _SHORT.sub(rf"\g<1>\g<2>{HIDDEN}", line[0]), value)
    value = _BEARER.sub(rf"\g<1> {HIDDEN}", value)
    value = _TOKENS.sub(HIDDEN, value)
    for home in sorted((home.rstrip("/") for home in homes), key=len, reverse=True):
        # The root's home on its own would take the first letter of every path.
        if len(home) > 1:
            value = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", value)
    return value


def everything(value: Any, homes: Sequence[str] = ()) -> Any:
    """Return plain data (of JSON) with every text in it, keys too, as `text` gives it; what a key calls secret goes."""
    if isinstance(value, str):
        return text(value, homes)
    if isinstance(value, dict):
        return {
            text(str(key), homes): HIDDEN
            if isinstance(item, str) and item and _KEY.fullmatch(str(key))
            else everything(item, homes)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [everything(item, homes) for item in value]
    return value
