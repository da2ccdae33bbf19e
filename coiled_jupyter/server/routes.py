"""The table of routes: method, path, body, permission, and the function of the service that handles a request.

Handlers, the OpenAPI document and the authorisation tests are derived from it, so that no operation lacks a permission.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NoReturn

import msgspec
from msgspec import Struct, field

from ..core import wire
from ..core.errors import Invalid, NotFound
from ..service.doctor import doctor
from ..service.facade import Service

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Permission = Literal["read", "write", "execute"]
_OPTIONAL, _REQUIRED = False, True


class Request(Struct, frozen=True):
    """A decoded request: the id in its path ("" if there is none), its query, its body, and the user."""

    id: str
    query: Mapping[str, str | None]
    body: Any
    user: str


class Route(Struct, frozen=True):
    """One operation of the REST API.

    Attributes
    ----------
    path
        Below the prefix of the API; ``{id}`` or ``{name}`` matches one segment.
    permission
        The action that Jupyter's authorizer is asked for.
    call
        Returns the result or an awaitable of it.
    answer
        Type of a successful response's body; None if it has none.
    body
        Types of the request's body: the first whose required fields are all present is used.
    query
        Names of the query arguments, and whether each is required.
    location
        Path of the created object, with fields of the answer in braces.

    """

    method: Method
    path: str
    permission: Permission
    summary: str
    call: Callable[[Service, Request], object]
    answer: Any
    body: tuple[type[wire.Request], ...] = ()
    query: Mapping[str, bool] = field(default_factory=dict)
    status: int = 200
    location: str = ""


def _create(service: Service, request: Request) -> Awaitable[wire.Cluster]:
    attached = isinstance(request.body, wire.ClusterAttach)
    return service.clusters.attach(request.body) if attached else service.clusters.create(request.body)


async def _syncs(service: Service, _: object) -> list[wire.Sync]:
    """Return the syncs without the lines of their logs."""
    return [
        msgspec.structs.replace(sync, log=wire.SyncLog(next=sync.log.next)) for sync in await service.changing.syncs()
    ]


async def _sync(service: Service, request: Request) -> wire.Sync:
    sync, after = await service.changing.find_sync(request.id), request.query["after"]
    if after is None:
        return sync
    if not after.isdecimal() or len(after) > 12:
        raise Invalid("after", "`after` is the `next` of an earlier answer")
    new = max(sync.log.next - int(after), 0)
    return msgspec.structs.replace(
        sync, log=wire.SyncLog(lines=sync.log.lines[-new:] if new else (), next=sync.log.next)
    )


def _diff(service: Service, request: Request) -> Awaitable[wire.Diff]:
    query = request.query
    return service.comparing.diff(query["cluster"] or "", kernel=query["kernel"], software=query["software"])


def _refuse(*_: object) -> NoReturn:
    raise NotFound("There is no such route", "The documentation lists all routes")


# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "about", "read", "Versions, limits, factories", lambda s, _: s.about(), wire.About),
    # Starts a process, so it is no GET.
    Route("POST", "factories/{name}/offers", "execute", "What a factory's platform declares, and which clusters run there",
          lambda s, r: s.clusters.offers(r.id, r.body), wire.Offers, body=(wire.OffersAsk,)),
    Route("GET", "clusters", "read", "All clusters", lambda s, _: s.clusters.all(), list[wire.Cluster]),
    Route("POST", "clusters", "execute", "Create a cluster, or attach one by its address", _create, wire.Cluster,
          body=(wire.ClusterAttach, wire.ClusterCreate), status=202, location="clusters/{id}"),
    Route("GET", "clusters/{id}", "read", "One cluster", lambda s, r: s.clusters.fetch(r.id), wire.Cluster),
    Route("DELETE", "clusters/{id}", "write", "Stop a cluster, or take an ended one off the list",
          lambda s, r: s.clusters.delete(r.id), None, status=204),
    Route("PATCH", "clusters/{id}", "write", "Change its size, name or lease",
          lambda s, r: s.clusters.change(r.id, r.body), wire.ChangedCluster, body=(wire.ClusterChange,)),
    Route("POST", "clusters/{id}/restart", "execute", "Start its workers, or all of it, anew",
          lambda s, r: s.clusters.restart(r.id, r.body), wire.Cluster, body=(wire.ClusterRestart,), status=202),
    Route("GET", "clusters/{id}/logs", "read", "What its nodes printed",
          lambda s, r: s.clusters.logs(r.id, node=r.query["node"], after=r.query["after"]), wire.Logs,
          query={"node": _OPTIONAL, "after": _OPTIONAL}),
    Route("GET", "clusters/{id}/activity", "read", "What its threads, workers and tasks are doing",
          lambda s, r: s.clusters.activity(r.id, r.query["after"]), wire.Activity, query={"after": _OPTIONAL}),
    # The paths of keys are for who may run code.
    Route("GET", "clusters/{id}/client", "execute", "Code that connects a kernel to a cluster",
          lambda s, r: s.client_code(r.id, r.query["kernel"]), wire.ClientCode, query={"kernel": _OPTIONAL}),
    Route("GET", "environments", "read", "The environment of a kernel, or one per group of a cluster",
          lambda s, r: s.comparing.environments(kernel=r.query["kernel"], cluster=r.query["cluster"]), list[wire.Environment],
          query={"kernel": _OPTIONAL, "cluster": _OPTIONAL}),
    Route("GET", "diff", "read", "A kernel compared with a cluster", _diff, wire.Diff,
          query={"kernel": _REQUIRED, "cluster": _REQUIRED, "software": _OPTIONAL}),
    Route("GET", "rules", "read", "What this user ignores or rates otherwise, and every rule",
          lambda s, _: s.comparing.rules(), wire.Rules),
    Route("PATCH", "rules", "write", "Change what this user ignores or rates otherwise",
          lambda s, r: s.comparing.change_rules(r.body), wire.Rules, body=(wire.RulesChange,)),
    # A POST only because a traceback is too long for a URL: it reads what GET diff reads, and changes nothing.
    Route("POST", "explain", "read", "The rows of a diff that explain a failure",
          lambda s, r: s.comparing.explain(r.body), wire.Explanation, body=(wire.ExplainRequest,)),
    Route("PUT", "kernels/{id}/imports", "write", "What the cells of a kernel's notebook import, saved or not",
          lambda s, r: s.comparing.tell_imports(r.id, r.body), None, body=(wire.NotebookImports,), status=204),
    Route("PUT", "kernels/{id}/seal", "execute", "Whether a kernel's clients send sealed graphs to a cluster",
          lambda s, r: s.comparing.seal(r.id, r.body), None, body=(wire.KernelSeal,), status=204),
    Route("GET", "usage", "read", "Core usage of this user on this host", lambda s, _: s.clusters.usage(), wire.Usage),
    Route("POST", "plans", "execute", "What a sync would do, before anything is touched",
          lambda s, r: s.changing.plan(r.body, r.user), wire.Plan, body=(wire.PlanCreate,), status=201),
    Route("GET", "plans/{id}", "read", "A plan that this server still holds",
          lambda s, r: s.changing.held_plan(r.id, r.user), wire.Plan),
    Route("GET", "syncs", "read", "Syncs of this user's clusters, newest first", _syncs, list[wire.Sync]),
    Route("POST", "syncs", "execute", "Carry out a plan", lambda s, r: s.changing.sync(r.body.plan, r.user),
          wire.Sync, body=(wire.SyncCreate,), status=201, location="syncs/{id}"),
    Route("GET", "syncs/{id}", "read", "One sync, with the lines of its log after `after`", _sync, wire.Sync,
          query={"after": _OPTIONAL}),
    Route("DELETE", "syncs/{id}", "write", "Cancel a sync; the old state comes back",
          lambda s, r: s.changing.cancel(r.id), wire.Sync),
    Route("POST", "syncs/{id}/undo", "execute", "Go back to the state before a sync",
          lambda s, r: s.changing.undo(r.id, r.user), wire.Sync, status=201, location="syncs/{id}"),
    Route("GET", "layers", "read", "States that clusters had, with the room that they take",
          lambda s, _: s.changing.layers(), list[wire.Layer]),
    Route("DELETE", "layers/{id}", "write", "Remove a layer that no cluster runs in",
          lambda s, r: s.changing.delete_layer(r.id), None, status=204),
    Route("GET", "software", "read", "Software environments of this user, without their packages",
          lambda s, _: s.software.all(), list[wire.Software]),
    Route("POST", "software", "execute", "Lock packages and keep them under a name",
          lambda s, r: s.software.create(r.body), wire.Software,
          body=(wire.SoftwareCreate,), status=201, location="software/{name}"),
    Route("GET", "doctor", "read", "What a report of a problem needs, without secrets",
          lambda s, r: doctor(s, r.query["kernel"], user=r.user), wire.Doctor, query={"kernel": _OPTIONAL}),
    Route("GET", "software/{name}", "read", "One software environment",
          lambda s, r: s.software.get(r.id), wire.Software),
    Route("DELETE", "software/{name}", "write", "Forget a software environment that no cluster runs",
          lambda s, r: s.software.delete(r.id), None, status=204),
    Route("GET", "software/{name}/export", "read", "A software environment as a file",
          lambda s, r: s.software.export(r.id, r.query["format"]), wire.SoftwareExport, query={"format": _OPTIONAL}),
)
# fmt: on
UNKNOWN = (
    Route("GET", ".*", "read", "", _refuse, None),
    Route("POST", ".*", "write", "", _refuse, None),
    Route("PUT", ".*", "write", "", _refuse, None),
    Route("PATCH", ".*", "write", "", _refuse, None),
    Route("DELETE", ".*", "write", "", _refuse, None),
)
"""Everything else below the prefix: a 404, but only after authorization."""
