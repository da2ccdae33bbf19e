"""Computes ETags that stay the same while an answer differs only in recent times of reading.

A time of reading that is younger than `CURRENT_SECONDS` means "just now": the ETag leaves it out, and the age of the
oldest such time is sent as a header, also with a 304. An older time belongs to the content. So does whether files were
examined, but not when.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta, timezone

from ..core.times import age

AGE = "Coiled-Jupyter-Age"
"""Name of the header: milliseconds since the oldest reading that is current."""
CURRENT_SECONDS = 10.0
# Text in an answer can't match this, because its quotation marks are escaped.
_READ_AT = re.compile(rb'"(taken_at|seen_at|last_seen|content_at)":"([^"]{1,40})"')


def of(answer: bytes) -> tuple[str, float | None]:
    """Return the ETag of an answer's JSON, and the seconds since its oldest current reading; None if it has none."""
    oldest = datetime.now(timezone.utc) - timedelta(seconds=CURRENT_SECONDS)
    since = oldest.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    current: list[bytes] = []

    def still(match: re.Match[bytes]) -> bytes:
        # Times on the wire have one format and time zone, so that they sort as text.
        if match[1] != b"content_at":
            if match[2] < since:
                return match[0]
            current.append(match[2])
        return match[1]

    content = _READ_AT.sub(still, answer)
    tag = hashlib.blake2b(content, digest_size=8).hexdigest()
    return tag, max(0.0, age(min(current).decode()) or 0.0) if current else None
