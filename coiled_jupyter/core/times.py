"""Times as they are sent and kept: RFC 3339 in UTC, with milliseconds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


def now() -> str:
    """Return the present time, RFC 3339 in UTC with milliseconds."""
    return _text(datetime.now(timezone.utc))


def since_epoch(seconds: float) -> str:
    """Return a time that is given in seconds since 1970; one that no calendar has is that of 1970."""
    try:
        return _text(datetime.fromtimestamp(seconds, timezone.utc))
    except (ValueError, OverflowError, OSError):
        return _text(datetime.fromtimestamp(0, timezone.utc))


def age(time: str | None, at: str | None = None) -> float | None:
    """Return the seconds from `time` to `at` (default: now), or None when there is no time."""
    if time is None:
        return None
    return (_moment(at or now()) - _moment(time)).total_seconds()


def ago(time: str, seconds: float) -> str:
    """Return the time that is so many seconds before `time`; none is further away than eleven days."""
    return _text(_moment(time) - timedelta(seconds=min(seconds, 1e6)))


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time.replace("Z", "+00:00"))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
