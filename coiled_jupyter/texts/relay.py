"""Relays connections from this machine to a scheduler that only a Dask client of this process reaches.

Kept by the handler of a kernel's control channel. ``call(request)`` opens a relay, or finds an open one, and returns one JSON
text: ``{"port": number}`` on loopback, or ``{"error": word}``. A request is ``{"scheduler": id, "folder": path, "port":
number}``: the folder has the PEM files of the relay (``ca``, ``cert`` and ``key``), and the port is the one to be taken if it
is free; 0 is any. The process of a cluster's class opens one with ``through``.

Nobody gets through without a certificate of the folder's authority. What goes through goes unread into a connection that the
client's own Dask opens, with certificates that never leave this process. That happens in a thread with an event loop of its
own, also while a cell runs. A relay closes when no client of its scheduler is left.

Rules: Python 3.8, standard library only, never raises, never imports Dask: if the user hasn't, there are no clients.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import threading

LIMIT = 64
PIECE = 1 << 18
DIAL_SECONDS = 20.0
LOOK_SECONDS = 0.5
_relays = {}


def _client(scheduler):
    """Return a live client of the scheduler with this id, or None."""
    instances = getattr(getattr(sys.modules.get("distributed.client"), "Client", None), "_instances", ())
    for _ in range(5):
        try:
            found = list(instances)
            break
        except RuntimeError:
            # Another thread has created a client meanwhile.
            continue
    else:
        found = []
    for client in found:
        identity = getattr(client, "_scheduler_identity", None) or {}
        if getattr(client, "status", "") in ("running", "connecting") and identity.get("id") == scheduler:
            return client
    return None


async def _dialled(client):
    """Return a connection to a client's scheduler, opened as the client itself does, before anything is said on it."""
    scheme, place = sys.modules["distributed.comm.addressing"].parse_address(client.scheduler.address)
    connector = sys.modules["distributed.comm.registry"].get_backend(scheme).get_connector()
    return await connector.connect(place, deserialize=False, **client.connection_args)


class _Relay:
    """One relay; ``find()`` returns a client, or what has its address and arguments of connections, and None to end it."""

    def __init__(self, find, folder, port):
        self.find = find
        names = [os.path.join(folder, name + ".pem") for name in ("ca", "cert", "key")]
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.load_cert_chain(names[1], names[2])
        self.tls.load_verify_locations(names[0])
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.socket = _listening(port)
        self.port = self.socket.getsockname()[1]
        self.open = set()
        self.thread = threading.Thread(target=self.run, name="coiled-jupyter relay", daemon=True)
        self.thread.start()

    def run(self):
        try:
            # Not `asyncio.run`, which others replace for the sake of notebooks.
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self.serve())
            finally:
                loop.close()
        except BaseException:
            # Whoever asks for it next finds it closed, and opens another one.
            return
        finally:
            self.socket.close()

    async def serve(self):
        # Its own connections are not the user's tasks, and their faults are not shown.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        server = await asyncio.start_server(self.enter, sock=self.socket, ssl=self.tls, limit=PIECE)
        while self.find() is not None:
            await asyncio.sleep(LOOK_SECONDS)
        server.close()
        for task in list(self.open):
            task.cancel()
        await asyncio.gather(*self.open, return_exceptions=True)

    async def enter(self, reader, writer):
        task, comm = asyncio.current_task(), None
        if len(self.open) >= LIMIT:
            writer.close()
            return
        self.open.add(task)
        ways = []
        try:
            client = self.find()
            if client is not None:
                comm = await asyncio.wait_for(_dialled(client), DIAL_SECONDS)
                client = None
                ways = [asyncio.ensure_future(way) for way in (_out(reader, comm.stream), _back(comm.stream, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            # Whoever came sees the end of the connection, and asks again.
            return
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if comm is not None:
                comm.abort()
            writer.transport.abort()
            self.open.discard(task)


async def _out(reader, stream):
    while True:
        data = await reader.read(PIECE)
        if not data:
            return
        await stream.write(data)


async def _back(stream, writer):
    while True:
        writer.write(await stream.read_bytes(PIECE, partial=True))
        await writer.drain()


def _listening(port):
    """Return a socket that listens on loopback, at this port if it is free."""
    for wanted in (port, 0):
        found = socket.socket()
        try:
            # The port of a relay that has just closed isn't taken.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(("127.0.0.1", wanted))
            found.listen(LIMIT)
            found.setblocking(False)
            return found
        except OSError:
            found.close()
            if not wanted:
                raise
    raise OSError


def _opened(request):
    key = (str(request["scheduler"]), str(request["folder"]))
    known = _relays.get(key)
    if known is not None and known.thread.is_alive():
        return {"port": known.port}
    client = _client(key[0])
    if client is None:
        return {"error": "gone"}
    if not os.path.isfile(os.path.join(key[1], "key.pem")):
        return {"error": "elsewhere"}
    scheme = client.scheduler.address.partition("://")[0]
    if scheme not in ("tls", "gateway"):
        # On others nothing is encrypted, or it isn't a stream of bytes.
        return {"error": "scheme"}
    _relays[key] = relay = _Relay(lambda: _client(key[0]), key[1], int(request.get("port", 0)))
    return {"port": relay.port}


def through(find, folder, port):
    """Open a relay to what ``find()`` returns, until that is None, and return its port; raises OSError and the like."""
    return _Relay(find, folder, port).port


def call(request):
    """Return the JSON answer to a request; ``error`` says why there is no relay."""
    try:
        return json.dumps(_opened(request))
    except BaseException as error:
        return json.dumps({"error": type(error).__name__})
