"""Decodes messages of a Dask peer as plain data, within limits that apply before memory is allocated.

Dask's own ``deserialize=False`` isn't enough: even in the handshake, a peer can have a part of its message unpickled at
once (``ToPickle``) or name an enumeration of any module; and a few bytes of msgpack or pickle can claim gigabytes.
So Dask's decoding of frames is replaced, only for messages read between `guard` and the end of the task.
"""

from __future__ import annotations

import contextvars
import pickletools
import struct
from collections.abc import Callable
from typing import Any

import distributed.comm.tcp
import msgpack
from distributed.protocol.serialize import Serialized

from ..core.errors import Unavailable

SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes of one serialized value."""
MESSAGE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message; the identity of a scheduler with thousands of workers has some MiB."""
FRAME_COUNT = 10_000
ARRAY_LENGTH = 10_000
"""Items that one array may announce: msgpack allocates memory for them before they arrive."""
MAP_LENGTH = 20_000
ITEM_COUNT = 2_000_000
"""Items of all arrays and maps of a message, or of one pickle, in which each reference counts."""
DEPTH = 50
OPERATION_COUNT = 200_000
"""Operations of a pickle."""

_VALUES = frozenset(
    [
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "SHORT_BINBYTES",
        "BINBYTES",
        "BINBYTES8",
    ]
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


class _Guard:
    """Counts the bytes received of one message."""

    def __init__(self) -> None:
        self.bytes = self.frames = 0

    def admit(self, size: int) -> None:
        self.bytes += size
        self.frames += 1
        if self.bytes > MESSAGE_LIMIT or self.frames > FRAME_COUNT:
            raise ValueError("a message larger than any answer")


_guard: contextvars.ContextVar[_Guard | None] = contextvars.ContextVar("guard", default=None)
_from_frames = distributed.comm.tcp.from_frames  # type: ignore[attr-defined]
_read_bytes = distributed.comm.tcp.read_bytes_rw


def guard() -> None:
    """Decode messages as plain data from now to the end of this task."""
    _guard.set(_Guard())


async def _guarded_from_frames(frames: Any, *args: Any, **kwargs: Any) -> Any:
    if _guard.get() is None:
        return await _from_frames(frames, *args, **kwargs)
    # The count restarts with the next message.
    guard()
    return loads(frames)


async def _guarded_read_bytes(stream: Any, n: int) -> Any:
    counted = _guard.get()
    if counted is None:
        return await _read_bytes(stream, n)
    counted.admit(n)
    data = await _read_bytes(stream, n)
    # The first read of a message has the number of its frames, for which Dask allocates memory.
    if counted.frames == 1 and n >= 8 and struct.unpack_from("Q", data)[0] > FRAME_COUNT:
        raise ValueError("a message of more frames than any answer")
    return data


distributed.comm.tcp.from_frames = _guarded_from_frames  # type: ignore[attr-defined]
distributed.comm.tcp.read_bytes_rw = _guarded_read_bytes


def loads(frames: list[Any]) -> Any:
    """Decode one message: plain msgpack, in which serialized parts stay serialized; ValueError for anything else."""
    parts: dict[int, Serialized] = {}
    items = 0

    def count(number: int) -> None:
        nonlocal items
        items += number
        if items > ITEM_COUNT:
            raise ValueError("a message of more items than any answer")

    def array(found: tuple[Any, ...]) -> tuple[Any, ...]:
        count(len(found) + 1)
        return found

    def unpack(frame: Any, hook: Any) -> Any:
        return msgpack.unpackb(
            frame,
            object_hook=hook,
            list_hook=array,
            strict_map_key=False,
            use_list=False,
            max_array_len=ARRAY_LENGTH,
            max_map_len=MAP_LENGTH,
        )

    def header(found: dict[Any, Any]) -> dict[Any, Any]:
        count(len(found) + 1)
        return found

    def plain(found: dict[Any, Any]) -> Any:
        count(len(found) + 1)
        offset = found.get("__Serialized__", 0)
        if type(offset) is int and 0 < offset < len(frames):
            if offset not in parts:
                about = unpack(frames[offset], header)
                parts[offset] = Serialized(about, frames[offset + 1 : offset + 1 + about["num-sub-frames"]])
            return parts[offset]
        if "__Enum__" in found:
            return str(found.get("name"))
        if "__Set__" in found:
            items = found.get("as-list")
            return list(items) if isinstance(items, tuple) else []
        if "__Pickled__" in found or "__Serialized__" in found:
            raise ValueError("a message may not hold a pickle that is loaded at once")
        return found

    try:
        return unpack(frames[0], plain)
    except Exception as error:
        raise ValueError("a message that isn't plain") from error


def decode(value: Any) -> Any:
    """Return the plain value of an answer that Dask left serialized; Unavailable if it isn't plain or is too large."""
    if not isinstance(value, Serialized):
        return value
    if sum(memoryview(frame).nbytes for frame in value.frames) > SIZE_LIMIT:
        raise Unavailable("The answer is larger than 4 MiB, so it wasn't read")
    if value.header.get("serializer") != "pickle" or value.header.get("compression", (None,)) not in ((None,), [None]):
        raise Unavailable("The answer has an unknown serialization, so it wasn't read")
    data = b"".join(bytes(frame) for frame in value.frames)
    try:
        found = _unpickle(data)
        _check_items(found)
    except Exception:  # noqa: BLE001 - a hostile pickle can raise anything
        raise Unavailable("The answer isn't plain data, so it wasn't read") from None
    return found


def _unpickle(data: bytes) -> Any:
    """Decode a pickle of plain data; the standard unpickler would allocate whatever sizes a pickle announces.

    Raises LookupError, TypeError, or ValueError for an operation that names a class, calls, or is unknown.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def taken(start: int) -> list[Any]:
        items = stack[start:]
        del stack[start:]
        return items

    for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
        name = operation.name
        if number > OPERATION_COUNT:
            raise ValueError("more operations than any answer has")
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(taken(marks.pop() if name == "TUPLE" else len(stack) - int(name[-1]))))
        elif name in ("APPEND", "APPENDS"):
            items = taken(marks.pop() if name == "APPENDS" else len(stack) - 1)
            list.extend(stack[-1], items)
        elif name in ("SETITEM", "SETITEMS"):
            items = taken(marks.pop() if name == "SETITEMS" else len(stack) - 2)
            keys = items[::2]
            # Hashing a tuple visits each item once per reference.
            if not all(isinstance(key, (str, int, float, bytes, type(None))) for key in keys):
                raise TypeError("a key that no answer has")
            dict.update(stack[-1], zip(keys, items[1::2], strict=True))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else int(argument or 0)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name == "STOP":
            (found,) = stack
            return found
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(name)
    raise ValueError("a pickle without an end")


def _check_items(value: Any) -> None:
    """Raise ValueError for a value so nested by references that visiting its items would take forever."""
    level, seen = [value], 0
    for _ in range(DEPTH):
        containers = [item for item in level if isinstance(item, (dict, list, tuple))]
        seen += sum(map(len, containers))
        if seen > ITEM_COUNT:
            break
        level = [part for item in containers for part in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return
    raise ValueError("more items than any answer has")
