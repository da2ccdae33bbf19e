"""Keeps a dask-gateway from ending workers that restart on purpose. Kept in the scheduler's process with ``scheduler``.

The gateway's service in the scheduler tells at once which workers have left, and the gateway then ends their nodes. It isn't
told that a held worker has left until that one's time is over; a worker that comes back is held no longer. So whatever
becomes of those who hold a worker, the gateway knows the truth in the end. Meanwhile adaptive scaling, which would count it
as missing, doesn't make the cluster smaller.

Rules: Python 3.8, standard library only. The text ``scheduler`` catches what is raised here.
"""

import time

KEY = "_coiled_jupyter_held"
_USED = ("worker_added", "worker_removed", "_scale", "count", "address_to_worker", "active_workers", "closing_workers")


def hold(scheduler, names, seconds):
    """Hold workers by their names; ``gateway`` is whether the cluster is a gateway's at all."""
    service = getattr(scheduler, "services", {}).get("gateway")
    if service is None:
        return {"gateway": False}
    missing = [name for name in _USED if not hasattr(service, name)]
    if missing:
        return {"error": "This version of dask-gateway can't be told that workers restart: it has no " + missing[0]}
    held = getattr(service, KEY, None) or _wrapped(service)
    wanted, end = set(names), time.monotonic() + seconds
    for name in service.active_workers:
        if str(name) in wanted and name not in service.closing_workers:
            held.workers[name] = (end, None)
    scheduler.loop.call_later(seconds, held.expire)
    held.settle()
    return {"gateway": True}


def release(scheduler, names, away):
    """Hold these no longer; those that are away stay so until their time is over, or with `away` are told as gone."""
    service = getattr(scheduler, "services", {}).get("gateway")
    held = getattr(service, KEY, None)
    if held is not None:
        held.release([name for name in held.workers if str(name) in names], away)
    return {"gateway": service is not None}


def _wrapped(service):
    held = _Held(service)
    setattr(service, KEY, held)
    for name in held.after:
        setattr(service, name, getattr(held, name))
    return held


class _Held:
    """The held workers of a gateway's service: by name, until when, and the address that has left."""

    after = ("worker_added", "worker_removed", "_scale")

    def __init__(self, service):
        self.service, self.workers = service, {}
        self.own = {name: service.__dict__[name] for name in self.after if name in service.__dict__}
        self.before = {name: getattr(service, name) for name in self.after}

    def worker_removed(self, address):
        name = getattr(self.service.address_to_worker.get(address), "name", None)
        # One that the gateway itself closes is expected to leave.
        if name in self.workers and name not in self.service.closing_workers:
            self.workers[name] = (self.workers[name][0], address)
            return
        self.before["worker_removed"](address)
        if self.workers.pop(name, None):
            self.settle()

    def worker_added(self, address):
        self.before["worker_added"](address)
        name = self.service.address_to_worker[address].name
        if self.workers.get(name, (0, None))[1] is not None:
            _, left = self.workers.pop(name)
            if left != address:
                self.service.address_to_worker.pop(left, None)
            self.settle()

    async def _scale(self, count):
        # What a user asks for ends adaptive scaling first.
        if count >= self.service.count or getattr(self.service, "adapt_task", None) is None:
            await self.before["_scale"](count)

    def release(self, names, away):
        for name in names:
            left = self.workers[name][1]
            if left is None or away:
                del self.workers[name]
            if left is not None and away:
                self.before["worker_removed"](left)
        self.settle()

    def expire(self):
        try:
            now = time.monotonic() + 0.05
            self.release([name for name, (end, _) in self.workers.items() if end <= now], True)
        except BaseException:
            # It is called by the scheduler's loop.
            return

    def settle(self):
        """With nothing held, leave nothing behind."""
        if self.workers or getattr(self.service, KEY, None) is not self:
            return
        delattr(self.service, KEY)
        for name in self.after:
            # Whoever has wrapped it since calls ours, which does nothing any more.
            if self.service.__dict__.get(name) == getattr(self, name):
                delattr(self.service, name)
                self.service.__dict__.update({name: self.own[name]} if name in self.own else {})
