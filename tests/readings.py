"""What a probe prints, decoded as the answer of a node that holds it."""

from __future__ import annotations

from coiled_jupyter.core.reading import Reading, decode_answer


def decode_reading(printed: str | bytes) -> Reading:
    data = printed.encode() if isinstance(printed, str) else printed
    reading = decode_answer(b'{"keys": "k", "reading": ' + data + b"}").reading
    assert reading is not None
    return reading
