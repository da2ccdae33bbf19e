"""Who may do what, and which events tell of it, on a real server with an authorizer and an event listener of its own."""

from __future__ import annotations

import re

import pytest

from coiled_jupyter.server.handlers import Handler, routes
from coiled_jupyter.server.openapi import document
from tests.processes import JupyterServer, apart, wait_for

GUARD = """
import json
from jupyter_server.auth import Authorizer
from jupyter_server.base.handlers import APIHandler
from tornado import web

class Guard(Authorizer):
    asked = []
    allowed = {"read"}

    def is_authorized(self, handler, user, action, resource):
        if "/coiled-jupyter/" not in handler.request.path:
            return True
        Guard.asked.append([action, resource])
        return action in Guard.allowed

class Control(APIHandler):
    events = []

    @web.authenticated
    def get(self):
        self.finish(json.dumps({"asked": Guard.asked, "events": Control.events}))

    @web.authenticated
    def put(self):
        Guard.allowed = set(json.loads(self.request.body))
        Guard.asked.clear()

def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*$", [("/control", Control)])

    async def heard(logger, schema_id, data):
        Control.events.append([schema_id, data])

    app.event_logger.add_listener(listener=heard)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("guarded")
    (root / "guard.py").write_text(GUARD)
    server = JupyterServer(
        root,
        "server",
        "--ServerApp.jpserver_extensions={'guard': True, 'coiled_jupyter': True}",
        "--ServerApp.authorizer_class=guard.Guard",
        env={"PYTHONPATH": str(root), **apart()},
    )
    yield server
    server.close()


ROUTES = [
    ("GET", "about", "read"),
    ("GET", "clusters", "read"),
    ("POST", "clusters", "execute"),
    ("GET", "clusters/x", "read"),
    ("PATCH", "clusters/x", "write"),
    ("DELETE", "clusters/x", "write"),
    ("POST", "clusters/x/restart", "execute"),
    ("GET", "clusters/x/logs", "read"),
    ("GET", "environments?cluster=x", "read"),
    ("GET", "diff?cluster=x", "read"),
    ("POST", "explain", "read"),
    ("GET", "usage", "read"),
    ("GET", "rules", "read"),
    ("PATCH", "rules", "write"),
    ("POST", "plans", "execute"),
    ("GET", "plans/x", "read"),
    ("GET", "syncs", "read"),
    ("POST", "syncs", "execute"),
    ("GET", "syncs/x", "read"),
    ("DELETE", "syncs/x", "write"),
    ("POST", "syncs/x/undo", "execute"),
    ("GET", "layers", "read"),
    ("DELETE", "layers/x", "write"),
    ("GET", "doctor", "read"),
    ("GET", "software", "read"),
    ("POST", "software", "execute"),
    ("GET", "software/x", "read"),
    ("DELETE", "software/x", "write"),
    ("GET", "software/x/export", "read"),
]


UNKNOWN = [("GET", "nothing", "read")] + [(method, "nothing", "write") for method in ("POST", "PATCH", "DELETE")]


def test_every_route_is_in_the_table():
    documented = {
        (method.upper(), path.replace("{id}", "x").replace("{name}", "x").lstrip("/"))
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert {(method, path.split("?")[0]) for method, path, _ in ROUTES} == documented


def test_every_method_of_every_live_handler_is_in_the_table():
    live = set()
    for pattern, handler in routes():
        path = re.sub(r"\(.*?\)", "x", pattern).removeprefix("/coiled-jupyter/api/").replace(".*", "nothing")
        ours = [cls for cls in handler.__mro__ if issubclass(cls, Handler)]
        live |= {(method, path) for method in Handler.SUPPORTED_METHODS if any(method.lower() in vars(c) for c in ours)}
    assert {(method, path.split("?")[0]) for method, path, _ in ROUTES + UNKNOWN} == live


@pytest.mark.parametrize(("method", "path", "action"), ROUTES + UNKNOWN)
def test_each_route_asks_for_its_action_on_our_resource(server, method, path, action):
    # All but the one that it needs.
    server.ask("PUT", "/control", sorted({"read", "write", "execute"} - {action}))
    status, answer = server.api(method, path, {} if method in ("POST", "PATCH") else None)
    assert status == 403
    assert answer["error"]["kind"] == "forbidden"
    assert server.ask("GET", "/control")[1]["asked"] == [[action, "coiled-jupyter"]]
    server.ask("PUT", "/control", ["read", "write", "execute"])


@pytest.mark.parametrize(("method", "path", "action"), ROUTES + UNKNOWN)
def test_no_route_answers_without_credentials(server, method, path, action):
    server.ask("PUT", "/control", ["read", "write", "execute"])
    body = {} if method in ("POST", "PATCH") else None
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": f"_xsrf={action}"}):
        assert server.api(method, path, body, headers=headers)[0] == 403
    # Nobody was even asked.
    assert server.ask("GET", "/control")[1]["asked"] == []


def test_a_reader_reads_and_starts_nothing(server):
    server.ask("PUT", "/control", ["read"])
    assert server.api("GET", "clusters") == (200, [])
    assert server.api("POST", "clusters", {"workers": 1})[0] == 403
    assert server.api("GET", "clusters") == (200, [])
    server.ask("PUT", "/control", ["read", "write", "execute"])


def test_changes_are_told_on_the_event_bus(server):
    server.ask("PUT", "/control", ["read", "write", "execute"])
    cluster = server.api("POST", "clusters", {"name": "secret-name", "workers": 1})[1]
    path = f"clusters/{cluster['id']}"
    wait_for(lambda: server.api("GET", path)[1]["status"] in ("running", "idle"), what="a cluster")
    assert server.api("DELETE", path)[0] == 204
    wait_for(lambda: server.api("GET", path)[1]["status"] == "stopped", what="the end")

    def ours():
        events = server.ask("GET", "/control")[1]["events"]
        return [data for schema, data in events if schema == "https://events.coiled-jupyter.org/change/v1"]

    wait_for(ours, what="events")
    told = ours()
    assert {data["kind"] for data in told} <= {"cluster", "kernel", "usage", "environment", "beat"}
    revisions = [data["revision"] for data in told if data.get("id") == cluster["id"]]
    assert revisions == sorted(revisions)
    assert len(revisions) >= 3
    # Whoever may listen to events may not read clusters: events say that something changed, not what.
    assert "secret-name" not in str(told)
