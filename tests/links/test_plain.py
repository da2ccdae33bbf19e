"""What a hostile peer sends is refused before it is built: small messages that ask for gigabytes, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import struct
import sys

import msgpack
import pytest
from distributed.comm.utils import to_frames
from distributed.protocol.serialize import Serialized
from distributed.protocol.utils import pack_frames
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.links.plain import ARRAY_LENGTH, FRAME_COUNT, decode, loads

ASK = """
import asyncio, resource, sys
from coiled_jupyter.core.errors import CoiledError
from coiled_jupyter.links.scheduler import SchedulerLink

async def go():
    link = SchedulerLink(sys.argv[1])
    for ask in (link.identity, lambda seconds: link.evaluate_on_scheduler("1", {}, seconds)):
        try:
            await ask(5.0)
            print("believed")
        except CoiledError as error:
            print(error.message)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // (2**20 if sys.platform == "darwin" else 2**10))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(go())
"""


def with_pickle(data: bytes, **header: object) -> bytes:
    """Return a packed message whose answer is this pickle."""
    about = {"serializer": "pickle", "writeable": (), "compression": (None,), "num-sub-frames": 1, **header}
    return pack_frames([msgpack.packb({"__Serialized__": 1}), msgpack.packb(about), data])


def doubled(operation: bytes, empty: bytes) -> bytes:
    """Return the operations that make a container of two references to one of two references to … one of nothing."""
    return empty + b"\x94" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + operation + b"\x94" for n in range(60))


NESTED = b"".join(b"\xdd" + struct.pack(">I", 2_000_000) for _ in range(500))
TEN_THOUSAND = b"\xdc" + struct.pack(">H", ARRAY_LENGTH)
MESSAGES = {
    "arrays that announce millions": lambda: pack_frames([NESTED + b"\xc0" * 2_000_000]),
    "an array of millions": lambda: pack_frames([b"\xdd" + struct.pack(">I", 2**24) + b"\x80" * 2**24]),
    "arrays of empty maps": lambda: pack_frames(
        [b"\xdc" + struct.pack(">H", 1600) + (TEN_THOUSAND + b"\x80" * ARRAY_LENGTH) * 1600]
    ),
    "one header for a million parts": lambda: pack_frames(
        [
            b"\xdc" + struct.pack(">H", 100) + (TEN_THOUSAND + msgpack.packb({"__Serialized__": 1}) * ARRAY_LENGTH) * 100,
            msgpack.packb({"num-sub-frames": 0, **{str(n): {} for n in range(1000)}}),
        ]
    ),
    "a long text as a set": lambda: pack_frames([msgpack.packb({"__Set__": True, "as-list": "x" * 2**25})]),
    "as many frames as bytes": lambda: struct.pack("Q", 2**40) + b"\0" * 100,
    "millions of empty frames": lambda: pack_frames([b""] * 2_000_000),
    "a pickle with the memo of 4 billion values": lambda: with_pickle(b"\x80\x04Nr\xff\xff\xff\xff."),
    "the same by a number in text": lambda: with_pickle(b"Np4294967295\n."),
    "a pickle of a terabyte": lambda: with_pickle(b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"."),
    "a pickle of lists that double": lambda: with_pickle(b"\x80\x04" + doubled(b"\x86", b")") + b"."),
    "a pickle with a key that doubles": lambda: with_pickle(b"\x80\x04}" + doubled(b"\x86", b")") + b"Ns."),
    "a pickle of a million maps": lambda: with_pickle(b"\x80\x04](" + b"}" * 3_000_000 + b"e."),
    "a compressed answer": lambda: with_pickle(b"\x01" * 1000, compression=("zlib",)),
    "parts that don't fit": lambda: struct.pack("QQ", 1, 50) + b"\0",
}  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_asks_for_gigabytes_is_refused_and_never_built(message):
    async def go():
        handshake = pack_frames(await to_frames({"compression": None, "python": (3, 11), "pickle-protocol": 4}))
        answer = MESSAGES[message]()

        async def serve(reader, writer):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                writer.write(struct.pack("Q", len(handshake)) + handshake)
                # The other's handshake, and then each request.
                await reader.readexactly(struct.unpack("Q", await reader.readexactly(8))[0])
                while True:
                    await reader.readexactly(struct.unpack("Q", await reader.readexactly(8))[0])
                    writer.write(struct.pack("Q", len(answer)) + answer)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ASK, address), stdout=asyncio.subprocess.PIPE
            )
            said, _ = await process.communicate()
        return said.decode().splitlines()

    identity, evaluated, grown = asyncio.run(go())
    assert "believed" not in (identity, evaluated)
    assert int(grown) < 250, grown  # MiB; the largest message itself has 32


def serialized(data: bytes) -> Serialized:
    return Serialized({"serializer": "pickle", "writeable": ()}, [data])


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=5)
    | st.lists(inner, max_size=5).map(tuple)
    | st.dictionaries(st.text(max_size=20) | st.integers(), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(plain, st.integers(3, 5))
def test_plain_data_is_read_as_it_was_written(value, protocol):
    assert decode(serialized(pickle.dumps([value, value], protocol=protocol))) == [value, value]


def test_long_lists_and_many_workers_are_read():
    value = {f"tls://10.0.0.1:{n}": {"status": "OK", "result": ["x" * 50] * 3} for n in range(5000)}
    assert decode(serialized(pickle.dumps(value))) == value
    identity = {
        "workers": {f"tls://10.0.0.1:{n}": {"name": n, "metrics": {"a": 1, "b": [1, 2]}} for n in range(10_000)}
    }
    assert loads([msgpack.packb(identity)])["workers"].keys() == identity["workers"].keys()


@pytest.mark.parametrize("value", [{(1, 2): 3}, {1, 2}, frozenset({1}), bytearray(b"x"), 1 + 2j])
def test_what_no_answer_holds_is_refused(value):
    with pytest.raises(Unavailable):
        decode(serialized(pickle.dumps(value)))


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_any_frames_are_read_or_refused(frames):
    with contextlib.suppress(ValueError):
        loads(frames)


def test_the_limits_leave_room_for_the_largest_cluster():
    # Each worker of the largest cluster that is shown could have a part of its own.
    assert FRAME_COUNT >= 10_000
