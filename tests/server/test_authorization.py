"""Who may do what, and which events tell of it, on a real server with an authorizer and an event listener of its own."""

from __future__ import annotations

import re

import pytest
from tornado.web import RequestHandler

from coiled_jupyter.server.handlers import handlers
from coiled_jupyter.server.routes import ROUTES, UNKNOWN
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

    async def listen(logger, schema_id, data):
        Control.events.append([schema_id, data])

    app.event_logger.add_listener(listener=listen)
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


ASKED = [
    pytest.param(
        route.method, re.sub(r"\{\w+\}|\.\*", "x", route.path), route.permission, id=f"{route.method} {route.path}"
    )
    for route in ROUTES + UNKNOWN
]


def test_what_each_method_needs():
    """The contract: who may read sees everything, and what starts or plans something needs to execute."""
    by_method = {"GET": "read", "POST": "execute", "PUT": "write", "PATCH": "write", "DELETE": "write"}
    others = {(r.method, r.path): r.permission for r in ROUTES if r.permission != by_method[r.method]}
    # The body of one is only too long for a URL, and code with the paths of keys is for who may run it.
    assert others == {
        ("POST", "explain"): "read",
        ("PUT", "kernels/{id}/seal"): "execute",
        ("GET", "clusters/{id}/client"): "execute",
    }


def test_the_handlers_answer_what_the_table_has_and_nothing_else():
    live = {
        (method, handler.__name__.removeprefix("Handler of "))
        for _, handler in handlers()
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
        if getattr(handler, method.lower()) is not RequestHandler._unimplemented_method
    }
    assert live == {(route.method, route.path) for route in ROUTES + UNKNOWN}


@pytest.mark.parametrize(("method", "path", "action"), ASKED)
def test_each_route_asks_for_its_action_on_our_resource(server, method, path, action):
    # All but the one that it needs.
    server.ask("PUT", "/control", sorted({"read", "write", "execute"} - {action}))
    status, answer = server.api(method, path, {} if method in ("POST", "PUT", "PATCH") else None)
    assert status == 403
    assert answer["error"]["kind"] == "forbidden"
    assert server.ask("GET", "/control")[1]["asked"] == [[action, "coiled-jupyter"]]
    server.ask("PUT", "/control", ["read", "write", "execute"])


@pytest.mark.parametrize(("method", "path", "action"), ASKED)
def test_no_route_answers_without_credentials(server, method, path, action):
    server.ask("PUT", "/control", ["read", "write", "execute"])
    body = {} if method in ("POST", "PUT", "PATCH") else None
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


def test_changes_are_published_on_the_event_bus(server):
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
    events = ours()
    assert {data["kind"] for data in events} <= {"cluster", "kernel", "usage", "environment"}
    revisions = [data["revision"] for data in events if data.get("id") == cluster["id"]]
    assert revisions == sorted(revisions)
    assert len(revisions) >= 3
    # Whoever may listen to events may not read clusters: events say that something changed, not what.
    assert "secret-name" not in str(events)
