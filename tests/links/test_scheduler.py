"""Raw requests to schedulers that lie, hang, or answer with hostile pickles; a real comm over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import pickle
import pickletools
import socket
import struct
import sys

import pytest
from distributed.comm.core import CommClosedError, connect, listen
from distributed.comm.utils import to_frames
from distributed.protocol.serialize import Serialize, Serialized, ToPickle
from distributed.protocol.utils import pack_frames
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import CoiledError, Timeout, Unavailable
from coiled_jupyter.links.plain import SIZE_LIMIT, decode
from coiled_jupyter.links.reader import Reader
from coiled_jupyter.links.scheduler import BROADCAST_SECONDS, SchedulerLink


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def serialized(data: bytes, **header) -> Serialized:
    return Serialized({"serializer": "pickle", "writeable": (), **header}, [data])


def against(handler, body, deserialize=False):
    """Run ``await body(link)`` with a link to a listener of which each connection is served by `handler`."""

    async def go():
        listener = await listen("tcp://127.0.0.1:0", handler, deserialize=deserialize)
        try:
            return await body(SchedulerLink(listener.contact_address))
        finally:
            listener.stop()

    return asyncio.run(go())


@pytest.mark.parametrize("wrap", [ToPickle, Serialize])
@pytest.mark.parametrize("ask", ["identity", "scheduler", "worker"])
def test_a_pickle_that_calls_is_refused_and_not_run(tmp_path, wrap, ask):
    target = tmp_path / "made"

    async def handler(comm):
        await comm.read()
        trap = wrap(Trap(str(target)))
        await comm.write(
            {
                "identity": {"workers": {"tls://a:1": trap}, "address": trap},
                "scheduler": {"status": "OK", "result": trap},
                "worker": {"tls://a:1": {"status": "OK", "result": trap}},
            }[ask],
            on_error="raise",
        )

    async def body(link):
        if ask == "identity":
            # Serialized parts that nobody looks at may stay where they are.
            with contextlib.suppress(Unavailable):
                await link.identity()
        elif ask == "scheduler":
            with pytest.raises(Unavailable):
                await link.evaluate_on_scheduler("1", {})
        else:
            (answer,) = (await link.evaluate_on_workers(["tls://a:1"], "1", {})).values()
            assert isinstance(answer, Unavailable)

    against(handler, body)
    assert not target.exists()
    # The trap does work where it is unpickled.
    pickle.loads(pickle.dumps(Trap(str(target))))
    assert target.exists()


def test_a_trap_in_the_handshake_is_not_sprung(tmp_path):
    target = tmp_path / "made"

    async def go(ask):
        packed = pack_frames(await to_frames({"python": ToPickle(Trap(str(target)))}))

        async def serve(reader, writer):
            # The message is there before it is asked for.
            writer.write(struct.pack("Q", len(packed)) + packed)
            await asyncio.sleep(0.3)
            writer.close()
            served.set()

        served = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            await ask(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await served.wait()
            # Dask leaves the connection of a failed handshake to the garbage collector.
            gc.collect()
            await asyncio.sleep(0.05)

    async def ours(address):
        with pytest.raises(Unavailable):
            await SchedulerLink(address).identity(2.0)

    async def theirs(address):
        with contextlib.suppress(Exception):
            await connect(address, timeout=2.0, deserialize=False)

    asyncio.run(go(ours))
    assert not target.exists()
    # The same message does harm where Dask reads it.
    asyncio.run(go(theirs))
    assert target.exists()


def test_other_connections_of_this_process_are_read_as_ever():
    async def handler(comm):
        assert await comm.read() == {"x": {1, 2}}
        await comm.write({"path": Serialize(os.PathLike)})

    async def body(link):
        comm = await connect(link.address)
        await comm.write({"x": {1, 2}})
        answer = await comm.read()
        await comm.close()
        return answer["path"]

    assert against(handler, body, deserialize=True) is os.PathLike


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x05.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"I1\n.garbage"[:2],
    ],
)
def test_broken_pickles_are_refused(data):
    with pytest.raises(Unavailable):
        decode(serialized(data))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    try:
        value = decode(serialized(data))
    except Unavailable:
        return
    assert isinstance(value, (type(None), bool, int, float, str, bytes, bytearray, list, tuple, dict, set, frozenset))


def test_too_large_or_compressed_is_refused():
    with pytest.raises(Unavailable, match="4 MiB"):
        decode(serialized(b"\0" * (SIZE_LIMIT + 1)))
    with pytest.raises(Unavailable, match="unknown serialization"):
        decode(serialized(pickle.dumps("x"), compression=("lz4",)))
    with pytest.raises(Unavailable, match="unknown serialization"):
        decode(Serialized({"serializer": "dask"}, [b""]))


ASKED_OF_A_FLOOD = """
import asyncio, resource, sys
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.links.scheduler import SchedulerLink

async def go():
    link = SchedulerLink(sys.argv[1])
    for ask in (link.identity, lambda seconds: link.evaluate_on_scheduler("1", {}, seconds)):
        try:
            await ask(20.0)
        except CoiledError as error:
            print(error.message)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // (2**20 if sys.platform == "darwin" else 2**10))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(go())
"""


@pytest.mark.parametrize("when", ["at once", "after the handshake"])
def test_a_gibibyte_is_refused_and_never_held(when):
    """What really comes is 1 GiB; the process that asked may not grow by a tenth of it."""

    async def go():
        handshake = pack_frames(await to_frames({"compression": None, "python": (3, 11), "pickle-protocol": 4}))
        sent = [0]

        async def serve(reader, writer):
            with contextlib.suppress(ConnectionError):
                if when != "at once":
                    writer.write(struct.pack("Q", len(handshake)) + handshake)
                writer.write(struct.pack("Q", 2**30))
                for _ in range(2**10):
                    writer.write(b"\0" * 2**20)
                    await writer.drain()
                    sent[0] += 2**20
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ASKED_OF_A_FLOOD, address), stdout=asyncio.subprocess.PIPE
            )
            said, _ = await process.communicate()
        return said.decode().split("\n"), sent[0]

    said, sent = asyncio.run(go())
    assert said[:2] == ["The connection failed", "The connection failed"]
    assert int(said[2]) < 100, said  # MiB
    assert sent < 2**28


@pytest.mark.parametrize("answer", [None, 1, "text", [], {}, {"status": "OK"}, {"status": "OK", "result": 1}])
def test_answers_that_are_not_ours(answer):
    async def handler(comm):
        await comm.read()
        await comm.write(answer)

    async def body(link):
        for ask in (link.identity(), link.evaluate_on_scheduler("1", {})):
            with pytest.raises(CoiledError):
                await ask
        (found,) = (await link.evaluate_on_workers(["tls://a:1"], "1", {})).values()
        assert isinstance(found, CoiledError)

    against(handler, body)


def test_a_silent_scheduler_meets_the_deadline():
    async def handler(comm):
        await comm.read()
        await asyncio.sleep(60)

    async def body(link):
        with pytest.raises(Timeout, match="No answer"):
            await asyncio.wait_for(link.identity(0.5), 30)

    against(handler, body)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_nobody_listens_that_is_known_at_once(host):
    """Long before the deadline, until which Dask would try again."""

    async def body(address):
        link = SchedulerLink(address)
        with pytest.raises(Unavailable, match="refused"):
            await asyncio.wait_for(link.identity(120.0), 60)
        return await link.diagnose()

    # Nobody listens at the port of a socket that is bound and doesn't listen.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        why = asyncio.run(body(f"tcp://{host}:{bound.getsockname()[1]}"))
    assert "Connection refused" in why


def test_one_that_accepts_connections_and_says_nothing_is_waited_for():
    async def body(address):
        with pytest.raises(CoiledError) as caught:
            await SchedulerLink(address).identity(1.0)
        return caught.value.message

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        said = asyncio.run(body(f"tcp://127.0.0.1:{server.getsockname()[1]}"))
    assert "refused" not in said


def test_only_builtins_by_reference_and_text_cross():
    """Every message of a whole reading: first meeting, reading, what runs, Dask's versions, and again."""
    seen = []

    async def handler(comm):
        with contextlib.suppress(CommClosedError):
            while True:
                seen.append(await comm.read())
                message = seen[-1]
                made = [_unevaluated(data) for data in _pickles(message)]
                asked = [names["G"] for _, names in made if "G" in names]
                names = asked[0]["N"] if asked else {}
                verb = names.get("A", [""])[0]
                # Two workers that run other modules, so that both are asked for them.
                texts = {"keys": "1111 {}", "read": "", "loaded": ""}
                places = message.get("workers", ["scheduler"])
                answers = {}
                for place in places:
                    text = texts.get(verb, "").format(place[-1])
                    if verb in ("read", "loaded"):
                        text = eval(asked[0]["T"], names)
                    answers[place] = [text] if asked else {"status": "OK", "result": ""}
                if message["op"] == "identity":
                    await comm.write({"workers": {}, "address": "x", "id": "y"})
                elif message["op"] == "broadcast":
                    await comm.write(answers)
                else:
                    await comm.write(answers["scheduler"])
                if message["op"] == "feed":
                    await comm.write(None)

    async def body(link):
        await link.identity()
        reader = Reader(link)
        workers = dict.fromkeys(("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"), 0.0)
        await reader.read(workers)
        await reader.read(workers, ["helpers"], sweep=True)
        await link.versions(list(workers))

    against(handler, body)
    verbs = set()
    for message in seen:
        for pickled in _pickles(message):
            names = _globals(pickled)
            assert names <= {("builtins", "eval")}, names
            _, given = _unevaluated(pickled)
            verbs |= {given["G"]["N"]["A"][0]} if "G" in given else set()
    assert {"keys", "read"} <= verbs
    assert {message["op"] for message in seen} == {"identity", "feed", "broadcast", "versions"}
    # Dask logs these two.
    assert {message["msg"]["op"] for message in seen if "msg" in message} == {"echo", "versions"}


class _Unevaluated(pickle.Unpickler):
    def find_class(self, module, name):
        assert (module, name) == ("builtins", "eval")
        return lambda *arguments: arguments


def _unevaluated(data: bytes) -> tuple[str, dict]:
    """The text and the names that a pickle would evaluate."""
    return _Unevaluated(io.BytesIO(data)).load()


def _pickles(value):
    if isinstance(value, dict):
        for item in value.values():
            yield from _pickles(item)
    elif isinstance(value, Serialized):
        yield b"".join(bytes(frame) for frame in value.frames)
    elif isinstance(value, bytes):
        yield value


def _globals(data: bytes) -> set[tuple[str, str]]:
    found, texts = set(), []
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE"):
            texts.append(argument)
        if opcode.name == "GLOBAL":
            found.add(tuple(argument.split(" ")))
        if opcode.name == "STACK_GLOBAL":
            found.add((texts[-2], texts[-1]))
    return found


def broadcasts(seconds):
    """Return a handler that answers a broadcast after ``seconds(workers)``."""

    async def handler(comm):
        with contextlib.suppress(CommClosedError):
            while True:
                workers = (await comm.read())["workers"]
                await asyncio.sleep(seconds(workers))
                await comm.write({worker: ["x"] for worker in workers})

    return handler


WORKERS = [f"tls://a:{number}" for number in range(150)]


def test_one_silent_worker_hides_no_other():
    async def body(link):
        return await asyncio.wait_for(link.evaluate_on_workers(WORKERS, "1", {}, 6.0), 90)

    handler = broadcasts(lambda workers: 60.0 if WORKERS[7] in workers else 0.0)
    found = against(handler, body)
    assert isinstance(found.pop(WORKERS[7]), Timeout)
    assert found == dict.fromkeys({*WORKERS} - {WORKERS[7]}, "x")


def test_slow_workers_are_waited_for_rather_than_asked_again_one_by_one():
    asked = []

    async def body(link):
        return await link.evaluate_on_workers(WORKERS, "1", {}, 20.0)

    def seconds(workers):
        asked.append(len(workers))
        return BROADCAST_SECONDS + 0.5

    assert against(broadcasts(seconds), body) == dict.fromkeys(WORKERS, "x")
    assert len(asked) < len(WORKERS) / 4, asked
