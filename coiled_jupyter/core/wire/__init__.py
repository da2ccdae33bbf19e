"""The wire types: every JSON body of the REST API and of the supervisor's socket, declared once, by subject.

OpenAPI (``docs/openapi.json``) and TypeScript (``labextension/src/api/wire.ts``) are generated from these structs.
Keys are snake_case, times are RFC 3339 in UTC, ids are opaque text. ``None`` means "not known", never "none of it".
"""
# ruff: noqa: F403 (all of these names are wire types; a list of them would repeat every module)

from .about import *
from .activity import *
from .base import *
from .clusters import *
from .diff import *
from .environments import *
from .errors import *
from .explanations import *
from .plans import *
from .rules import *
from .software import *
from .syncs import *
from .usage import *
