"""The REST routes, and the one table that turns errors into status codes."""

from __future__ import annotations

import re
from http.client import responses
from typing import Any, NoReturn, TypeVar

import msgspec
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..core.errors import CoiledError, Invalid, NotFound, TooLarge
from ..core.wire import (
    ClusterAttach,
    ClusterChange,
    ClusterCreate,
    ClusterRestart,
    ErrorBody,
    ErrorKind,
    ExplainRequest,
    PlanCreate,
    Problematic,
    RulesChange,
    SoftwareCreate,
    SyncCreate,
    SyncLog,
)
from ..doctor import doctor
from ..service import Service
from . import beat

STATUS: dict[ErrorKind, int] = {
    "invalid": 400,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "impossible": 422,
    "too_many": 429,
    "unavailable": 503,
    "timeout": 504,
}
_KINDS = {status: kind for kind, status in STATUS.items()} | {401: "forbidden", 405: "invalid"}
BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body."""

AGE = "Coiled-Jupyter-Age"
"""Header of an answer without a body: milliseconds since the oldest reading in what the page has."""

T = TypeVar("T")


class Handler(APIHandler):
    """What all routes share: who may, what a body is, how an error looks."""

    auth_resource = "coiled-jupyter"
    _age = 0.0

    @property
    def _track_activity(self) -> bool:  # type: ignore[override]
        # Polling by an open page isn't the user's activity: it would keep an idle server from being culled.
        return self.request.method not in ("GET", "HEAD")

    @property
    def service(self) -> Service:
        """The service behind all routes."""
        service: Service = self.settings["coiled_jupyter_service"]
        return service

    @property
    def user(self) -> str:
        """Who asks: plans belong to one user. Jupyter gives each request with the server's token another made-up name."""
        if self.token_authenticated:
            return "token"
        return str(getattr(self.current_user, "username", "") or "")

    def answer(self, value: Any, status: int = 200) -> None:
        """Finish with `value` as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        self._age = beat.age(value)
        self.finish(msgspec.json.encode(value))

    def compute_etag(self) -> str:
        """Return a tag of the answer's content without the times at which it was read."""
        return f'"{beat.tag(b"".join(self._write_buffer))}"'

    def check_etag_header(self) -> bool:
        """Return whether the page has this answer and needs only be told that it holds."""
        # What wasn't read just now is sent with its times.
        same = self._age <= beat.CURRENT_SECONDS and super().check_etag_header()
        if same:
            self.set_header(AGE, round(1000 * self._age))
        return same

    def body(self, kind: type[T]) -> T:
        """Return the request's body as `kind`, or raise Invalid naming the field."""
        if len(self.request.body) > BODY_LIMIT:
            raise TooLarge("The request is larger than 1 MiB")
        try:
            return msgspec.json.decode(self.request.body, type=kind)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            field = path.rstrip("`").lstrip(".")
            named = re.search(r"(?:unknown|required) field `([^`]{0,80})", text)
            if named and not field:
                field = named[1]
            raise Invalid(field or "body", f"{field or 'The body'}: {text}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("body", "The body isn't JSON") from None

    def query(self, name: str) -> str | None:
        """Return one query argument, or None."""
        value = self.get_query_argument(name, None)
        if value is not None and len(value) > 200:
            raise Invalid(name, f"{name} is too long")
        return value or None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in the contract's form, without the text of any exception of Python."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, CoiledError):
            status_code = STATUS[error.kind]
            body = error.to_wire()
        else:
            message = responses.get(status_code, "Error")
            if isinstance(error, web.HTTPError) and status_code < 500 and error.log_message:
                message = error.log_message
            kind = _KINDS.get(status_code, "unavailable")
            body = ErrorBody(error=Problematic(kind=kind, message=message, hint=_HINTS.get(status_code, "")))
        self.clear_header("Content-Length")
        self.answer(body, status_code)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log our own errors as one line; everything else as tornado does."""
        if isinstance(value, CoiledError):
            self.log.info("%s %s: %s", self.request.method, self.request.path, value.message)
        else:
            super().log_exception(typ, value, tb)


_HINTS = {
    403: "Sign in to Jupyter again; a script needs the server's token in its Authorization header",
    500: "This is a fault of ours: please report it with the server's log",
}


class AboutHandler(Handler):
    """``about``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Versions, limits, factories."""
        self.answer(self.service.about())


class ClustersHandler(Handler):
    """``clusters``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """All clusters."""
        self.answer(self.service.clusters())

    @web.authenticated
    @authorized("execute")
    async def post(self) -> None:
        """Create a cluster, or attach one by its address."""
        if "address" in self.body(dict[str, msgspec.Raw]):
            cluster = await self.service.attach(self.body(ClusterAttach))
        else:
            cluster = await self.service.create(self.body(ClusterCreate))
        self.set_header("Location", self.request.path.rstrip("/") + "/" + cluster.id)
        self.answer(cluster, 202)


class ClusterHandler(Handler):
    """``clusters/{id}``."""

    @web.authenticated
    @authorized
    async def get(self, cluster_id: str) -> None:
        """One cluster."""
        self.answer(self.service.cluster(cluster_id))

    @web.authenticated
    @authorized
    async def patch(self, cluster_id: str) -> None:
        """Change its size, name or lease."""
        self.answer(await self.service.change(cluster_id, self.body(ClusterChange)))

    @web.authenticated
    @authorized
    async def delete(self, cluster_id: str) -> None:
        """Stop a cluster, or take an ended one off the list."""
        await self.service.delete(cluster_id)
        self.set_status(204)
        self.finish()


class RestartHandler(Handler):
    """``clusters/{id}/restart``."""

    @web.authenticated
    @authorized("execute")
    async def post(self, cluster_id: str) -> None:
        """Start its workers, or all of it, anew."""
        self.answer(await self.service.restart(cluster_id, self.body(ClusterRestart)), 202)


class LogsHandler(Handler):
    """``clusters/{id}/logs``."""

    @web.authenticated
    @authorized
    async def get(self, cluster_id: str) -> None:
        """What its nodes printed."""
        node, after = self.query("node"), self.get_query_argument("after", None)
        self.answer(await self.service.logs(cluster_id, node=node, after=after))


class EnvironmentsHandler(Handler):
    """``environments``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The environment of a kernel, or one per group of a cluster."""
        self.answer(await self.service.environments(kernel=self.query("kernel"), cluster=self.query("cluster")))


class DiffHandler(Handler):
    """``diff``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """A kernel compared with a cluster."""
        kernel, cluster = self.query("kernel"), self.query("cluster")
        if kernel is None:
            raise Invalid("kernel", "Name the kernel to compare")
        if cluster is None:
            raise Invalid("cluster", "Name the cluster to compare")
        software = self.query("software")
        label = await self.service.label(kernel)
        self.answer(await self.service.diff(cluster, kernel=kernel, label=label, software=software))
        if software is None:
            self.settings["coiled_jupyter_beat"].look(kernel, cluster)


class RulesHandler(Handler):
    """``rules``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """What this user ignores or rates otherwise, and every rule."""
        self.answer(self.service.rules())

    @web.authenticated
    @authorized
    async def patch(self) -> None:
        """Change what this user ignores or rates otherwise."""
        self.answer(self.service.change_rules(self.body(RulesChange)))


class ExplainHandler(Handler):
    """``explain``."""

    # A POST only because a traceback is too long for a URL: it reads what GET diff reads, and changes nothing.
    @web.authenticated
    @authorized("read")
    async def post(self) -> None:
        """The rows of a diff that explain a failure."""
        self.answer(await self.service.explain(self.body(ExplainRequest)))


class PlansHandler(Handler):
    """``plans``."""

    @web.authenticated
    @authorized("execute")
    async def post(self) -> None:
        """What a sync would do."""
        self.answer(await self.service.plan(self.body(PlanCreate), self.user), 201)


class PlanHandler(Handler):
    """``plans/{id}``."""

    @web.authenticated
    @authorized
    async def get(self, plan_id: str) -> None:
        """A plan that is still held."""
        self.answer(self.service.held_plan(plan_id, self.user))


class SyncsHandler(Handler):
    """``syncs``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The last syncs, without their logs."""
        self.answer([msgspec.structs.replace(sync, log=SyncLog(next=sync.log.next)) for sync in self.service.syncs()])

    @web.authenticated
    @authorized("execute")
    async def post(self) -> None:
        """Carry out a plan."""
        sync = await self.service.sync(self.body(SyncCreate).plan, self.user)
        self.set_header("Location", self.request.path.rstrip("/") + "/" + sync.id)
        self.answer(sync, 201)


class SyncHandler(Handler):
    """``syncs/{id}``."""

    @web.authenticated
    @authorized
    async def get(self, sync_id: str) -> None:
        """One sync, with the lines of its log after `after`."""
        sync = self.service.find_sync(sync_id)
        after = self.query("after")
        if after is not None:
            if not after.isdecimal() or len(after) > 12:
                raise Invalid("after", "`after` is the `next` of a former answer")
            new = max(sync.log.next - int(after), 0)
            lines = sync.log.lines[-new:] if new else ()
            sync = msgspec.structs.replace(sync, log=SyncLog(lines=lines, next=sync.log.next))
        self.answer(sync)

    @web.authenticated
    @authorized
    async def delete(self, sync_id: str) -> None:
        """Cancel it."""
        self.answer(await self.service.cancel_sync(sync_id))


class UndoHandler(Handler):
    """``syncs/{id}/undo``."""

    @web.authenticated
    @authorized("execute")
    async def post(self, sync_id: str) -> None:
        """Go back to the state before it."""
        sync = await self.service.undo(sync_id, self.user)
        self.set_header("Location", self.request.path.rsplit("/", 2)[0] + "/" + sync.id)
        self.answer(sync, 201)


class LayersHandler(Handler):
    """``layers``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """States that clusters had."""
        self.answer(self.service.layers())


class LayerHandler(Handler):
    """``layers/{id}``."""

    @web.authenticated
    @authorized
    async def delete(self, layer_id: str) -> None:
        """Remove a layer that nobody uses."""
        await self.service.delete_layer(layer_id)
        self.set_status(204)
        self.finish()


class AllSoftwareHandler(Handler):
    """``software``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Software environments of this user."""
        self.answer(await self.service.software())

    @web.authenticated
    @authorized("execute")
    async def post(self) -> None:
        """Lock packages and keep them under a name."""
        software = await self.service.create_software(self.body(SoftwareCreate))
        self.set_header("Location", self.request.path.rstrip("/") + "/" + software.name)
        self.answer(software, 201)


class SoftwareHandler(Handler):
    """``software/{name}``."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """One software environment, with its packages."""
        self.answer(await self.service.find_software(name))

    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Forget it."""
        self.service.delete_software(name)
        self.set_status(204)
        self.finish()


class ExportHandler(Handler):
    """``software/{name}/export``."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """A software environment as a file for other tools."""
        self.answer(self.service.export_software(name, self.query("format")))


class DoctorHandler(Handler):
    """``doctor``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """What a report of a problem needs, without secrets."""
        self.answer(await doctor(self.service, self.query("kernel"), user=self.user))


class UsageHandler(Handler):
    """``usage``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Core usage of this user on this host."""
        self.answer(self.service.usage())


class UnknownHandler(Handler):
    """Everything else below our prefix."""

    def _refuse(self) -> NoReturn:
        raise NotFound("There is no such route", "GET about tells what is there")

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Refuse."""
        self._refuse()

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Refuse."""
        self._refuse()

    @web.authenticated
    @authorized
    async def patch(self) -> None:
        """Refuse."""
        self._refuse()

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        """Refuse."""
        self._refuse()


def routes() -> list[tuple[str, type[Handler]]]:
    """Return the table of routes, relative to the server's base URL."""
    base = "/coiled-jupyter/api"
    return [
        (rf"{base}/about", AboutHandler),
        (rf"{base}/clusters", ClustersHandler),
        (rf"{base}/clusters/([^/]{{1,80}})", ClusterHandler),
        (rf"{base}/clusters/([^/]{{1,80}})/restart", RestartHandler),
        (rf"{base}/clusters/([^/]{{1,80}})/logs", LogsHandler),
        (rf"{base}/environments", EnvironmentsHandler),
        (rf"{base}/diff", DiffHandler),
        (rf"{base}/rules", RulesHandler),
        (rf"{base}/explain", ExplainHandler),
        (rf"{base}/usage", UsageHandler),
        (rf"{base}/plans", PlansHandler),
        (rf"{base}/plans/([^/]{{1,80}})", PlanHandler),
        (rf"{base}/syncs", SyncsHandler),
        (rf"{base}/syncs/([^/]{{1,80}})", SyncHandler),
        (rf"{base}/syncs/([^/]{{1,80}})/undo", UndoHandler),
        (rf"{base}/layers", LayersHandler),
        (rf"{base}/layers/([^/]{{1,80}})", LayerHandler),
        (rf"{base}/software", AllSoftwareHandler),
        (rf"{base}/software/([^/]{{1,80}})", SoftwareHandler),
        (rf"{base}/software/([^/]{{1,80}})/export", ExportHandler),
        (rf"{base}/doctor", DoctorHandler),
        (rf"{base}/.*", UnknownHandler),
    ]
