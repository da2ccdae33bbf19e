"""Runs a class of clusters (the interface of ``distributed.deploy.Cluster``) for a supervisor, in a process of its own.

Started as ``python -c <this text>``. The first line of stdin is ``{"module", "name", "args", "kwargs", "queue", "logs",
"tls"}``: what is imported and called, with ``asynchronous=True``, without workers; ``tls`` are paths of certificates for all
its processes, or null. Each further line is a call ``{"id": n, "call":
name, …}``: ``scale`` (``workers``), ``remove`` (``units``, with their workers), ``adapt`` (``minimum``, ``maximum``),
``steady``, which ends adapting, and ``relay`` (``text``, ``folder``, ``port``: see the text ``relay``), to a scheduler that
only this process reaches. Each line of stdout is an event: ``started`` (``address``, ``tls``: PEM texts or null,
``dashboard``), ``failed`` (``kind``: ``missing`` or ``platform``, ``text``, ``module``), ``state`` (``units``: names of the
workers that were asked for, by job or process; ``pending``, ``lost`` and ``refused``: sentences), and ``answer`` (``id``,
``error``, ``port``).

With ``"ask": true`` in the first line nothing is started. The object that is made, a gateway, is asked for the options that
it declares and for the clusters that run there, and the one event is ``offers`` (``options``, ``clusters``) or ``failed``.

When stdin ends, because the supervisor has closed it or is gone, the cluster is closed, and this process ends: a start that
runs is first waited for, so that nothing it has begun stays unknown. What the platform prints goes to stderr, and what
remote processes print to a file each in the folder ``logs``.

Rules: Python 3.8, standard library only before the class is imported.
"""

import asyncio
import importlib
import inspect
import json
import logging
import operator
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings

START_SECONDS = 20.0
CLOSE_SECONDS = 25.0
LOOK_SECONDS = 1.0
QUEUE_SECONDS = 5.0
AGAIN_SECONDS = 10.0
LINE = 8192
TEXT = 2000
# Ends a remote process when the connection that started it is gone: sshd then closes stdin.
GUARD = (
    'sh -c \'exec 3<&0; "$@" </dev/null & p=$!;'
    " (cat <&3; kill $p; sleep 5; kill -9 $p) >/dev/null 2>&1 & w=$!;"
    " wait $p; s=$?; kill $w 2>/dev/null; exit $s' sh "
)


def _words(error):
    """Return what a platform said, without the frames and the sentences of those who passed it on."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    root = seen[-1]
    # An error that was raised while another one was handled is about that one.
    for one in seen:
        if not isinstance(one, (AttributeError, AssertionError, RuntimeError)) and str(one):
            root = one
            break
    text = str(root) or type(root).__name__
    # Batch systems: what the command printed.
    found = re.search(r"stderr:\n(.*)", text, re.DOTALL)
    if found and found.group(1).strip():
        text = found.group(1)
    name = type(root).__name__
    text = " ".join(text.split())[:TEXT]
    return text if name in ("RuntimeError", "ValueError", "Exception", "OSError") else name + ": " + text


class _Output:
    """The lines for the supervisor; what others print goes to stderr."""

    def __init__(self):
        self._descriptor = os.dup(1)
        os.dup2(2, 1)

    def send(self, **event):
        data = json.dumps(event).encode("utf-8") + b"\n"
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except OSError:
                return


class _Said(logging.Handler):
    """Keeps the last line that a remote process printed while it started: Dask raises less than that."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.line = ""
        logging.getLogger("distributed.deploy.ssh").addHandler(self)

    def emit(self, record):
        self.line = record.getMessage().strip() or self.line


class _Host:
    def __init__(self, output, spec):
        self._said = _Said()
        self._output, self._spec = output, spec
        self._cluster = None
        self._calls = asyncio.Queue()
        self._closing = asyncio.Event()
        self._drains = {}
        self._told = None
        self._queue_at = self._again_at = 0.0
        self._jobs = {}
        self._lost = {}
        self._refused = ""
        self._way = None

    # ---- life ----------------------------------------------------------------------------------------------------

    def take(self, line):
        """Take a line of stdin, or its end."""
        if line is None:
            self._closing.set()
        else:
            self._calls.put_nowait(json.loads(line))

    async def run(self):
        start = asyncio.ensure_future(self._start())
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait({start, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not start.done():
            # Cut off in the middle, it could leave a job that nobody knows.
            await asyncio.wait({start}, timeout=START_SECONDS)
            start.cancel()
            await asyncio.wait({start}, timeout=1.0)
        failed = start.done() and not start.cancelled() and start.exception() is not None
        if failed:
            self.tell_failure(start.exception())
        elif not self._closing.is_set():
            tasks = [asyncio.ensure_future(work) for work in (self._obey(), self._look())]
            await asyncio.wait({closing, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)
        await self._close()

    def tell_failure(self, error):
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)
        missing = isinstance(error, ImportError)
        # Some raise their own sentence in place of what is missing.
        name = getattr(error, "name", None) or ""
        for module in ("asyncssh",):
            if missing and not name and module in str(error):
                name = module
        kind = "missing" if missing else "platform"
        self._output.send(event="failed", kind=kind, text=self._told_words(error), module=name)

    def _told_words(self, error):
        text = _words(error)
        return text + ": " + self._said.line[:TEXT] if text == "Worker failed to start" and self._said.line else text

    async def _start(self):
        spec = self._spec
        kwargs = {"security": _encrypt(spec["tls"])} if spec["tls"] else {}
        cluster = _made(spec, **kwargs)
        self._cluster = cluster
        if _is_ssh(cluster):
            _spread(cluster)
        if inspect.isawaitable(cluster):
            self._cluster = cluster = await cluster
        # Some dashboards are behind a proxy of the platform, and only the class knows.
        self._output.send(
            event="started",
            address=str(cluster.scheduler_address),
            tls=_tls(getattr(cluster, "security", None)),
            dashboard=str(getattr(cluster, "dashboard_link", "") or ""),
        )

    async def _close(self):
        cluster, self._cluster, self._way = self._cluster, None, None
        if cluster is None:
            return
        try:
            status = getattr(cluster, "status", "running")
            if getattr(status, "name", status) not in ("closed", "failed"):
                closed = cluster.close()
                if inspect.isawaitable(closed):
                    await asyncio.wait_for(closed, CLOSE_SECONDS)
        except Exception as error:
            sys.stderr.write("closing the cluster failed: %s\n" % _words(error))
        # One that failed while it started closes only what it knows.
        for one in [*list(getattr(cluster, "_created", ())), getattr(cluster, "scheduler", None)]:
            state = getattr(getattr(one, "status", None), "name", "closed")
            close = getattr(one, "close", None)
            if close is None or (state == "closed" and not getattr(one, "job_id", None)):
                continue
            try:
                await asyncio.wait_for(_done(close()), 10.0)
            except Exception as error:
                sys.stderr.write("closing %r failed: %s\n" % (getattr(one, "name", one), _words(error)))

    # ---- calls ---------------------------------------------------------------------------------------------------

    async def _obey(self):
        while True:
            call = await self._calls.get()
            error = port = None
            try:
                port = await getattr(self, "_" + call["call"])(call)
            except asyncio.CancelledError:
                raise
            except Exception as failure:
                import traceback

                traceback.print_exc()
                error = self._told_words(failure)
            self._tell_state()
            self._output.send(event="answer", id=call["id"], error=error, port=port)

    async def _scale(self, call):
        await self._heard(self._cluster.scale(call["workers"]))
        await self._correct()

    async def _remove(self, call):
        units = set(call["units"])
        for key in [key for key in self._cluster.worker_spec if str(key) in units]:
            del self._cluster.worker_spec[key]
        await self._correct()

    async def _adapt(self, call):
        await self._heard(self._cluster.adapt(minimum=call["minimum"], maximum=call["maximum"]))

    async def _heard(self, result):
        """Wait for what a platform does, and keep what it warns of: a gateway says so where it gives fewer workers."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await _done(result)
        for one in caught:
            sys.stderr.write(warnings.formatwarning(one.message, one.category, one.filename, one.lineno))
        told = [str(one.message) for one in caught if one.category.__name__ == "GatewayWarning"]
        self._refused = "; ".join(told)[:TEXT]

    async def _relay(self, call):
        relay = {"__name__": "coiled_jupyter_relay"}
        exec(compile(call["text"], "<coiled-jupyter relay>", "exec"), relay)  # noqa: S102 - our own text
        self._way = _Way(self._cluster)
        return relay["through"](lambda: self._way, call["folder"], call["port"])

    async def _steady(self, call):
        adaptive = getattr(self._cluster, "_adaptive", None)
        if adaptive is not None:
            adaptive.stop()
        elif "active" in inspect.signature(self._cluster.adapt).parameters:
            await _done(self._cluster.adapt(active=False))

    async def _correct(self):
        """Have Dask's own classes make workers what they are to be, and raise what goes wrong."""
        if hasattr(self._cluster, "_correct_state"):
            try:
                await self._cluster._correct_state()
            finally:
                for key, worker in list(self._cluster.workers.items()):
                    # Kept, a worker that couldn't be started would count as one, and never be tried again.
                    if getattr(getattr(worker, "status", None), "name", "") in ("failed", "created", "undefined"):
                        del self._cluster.workers[key]
                        self._cluster.worker_spec.pop(key, None)

    # ---- looking -------------------------------------------------------------------------------------------------

    async def _look(self):
        while True:
            try:
                self._drain()
                await self._ask_queue()
                await self._start_again()
                self._tell_state()
                if await self._gone():
                    return
            except asyncio.CancelledError:
                raise
            except Exception as error:
                sys.stderr.write("looking at the cluster failed: %s\n" % _words(error))
            await asyncio.sleep(LOOK_SECONDS)

    def _present(self):
        info = getattr(self._cluster, "scheduler_info", None) or {}
        return {str(worker.get("name")) for worker in info.get("workers", {}).values()}

    def _units(self):
        """Return the names of the workers of each job or process that was asked for; None where the class has none."""
        specs = getattr(self._cluster, "worker_spec", None)
        if not isinstance(specs, dict):
            return None
        return {
            str(key): [str(key) + suffix for suffix in spec["group"]] if "group" in spec else [str(key)]
            for key, spec in specs.items()
        }

    def _tell_state(self):
        units = self._units()
        pending = {}
        present = self._present()
        for unit, state in self._jobs.items():
            if not set((units or {}).get(unit, ())) & present:
                pending[state] = pending.get(state, 0) + 1
        told = (
            units,
            ", ".join("%d %s %s" % (n, "job" if n == 1 else "jobs", state) for state, n in sorted(pending.items())),
            "; ".join(
                self._lost[unit]
                for unit in sorted(self._lost)
                if unit in (units or ()) and not set(units[unit]) & present
            ),
            self._refused,
        )
        if told != self._told:
            self._told = told
            self._output.send(event="state", units=units, pending=told[1], lost=told[2], refused=told[3])

    async def _gone(self):
        """Whether a gateway says that the cluster has ended there."""
        gateway = getattr(self._cluster, "gateway", None)
        if not hasattr(gateway, "get_cluster") or time.monotonic() < self._again_at:
            return False
        self._again_at = time.monotonic() + AGAIN_SECONDS
        report = await asyncio.wait_for(gateway.get_cluster(self._cluster.name), AGAIN_SECONDS)
        status = report.status.name.lower()
        if status not in ("stopping", "stopped", "failed"):
            return False
        sys.stderr.write("The gateway says that the cluster is %s\n" % status)
        return True

    async def _ask_queue(self):
        """Ask the batch system about jobs whose workers aren't there."""
        command, workers = self._spec.get("queue"), getattr(self._cluster, "workers", None)
        if not command or not isinstance(workers, dict) or time.monotonic() - self._queue_at < QUEUE_SECONDS:
            return
        self._queue_at = time.monotonic()
        present, units = self._present(), self._units() or {}
        waiting = {
            str(worker.job_id): str(key)
            for key, worker in list(workers.items())
            if getattr(worker, "job_id", None) and not set(units.get(str(key), ())) & present
        }
        if not waiting:
            self._jobs = {}
            return
        words = [part.replace("{ids}", ",".join(waiting)) for part in command]
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            printed, _ = await asyncio.wait_for(process.communicate(), 10.0)
        except asyncio.TimeoutError:
            process.kill()
            return
        self._jobs = {}
        for line in printed.decode("utf-8", "replace").splitlines():
            job, _, state = line.strip().partition(" ")
            state, _, reason = state.partition(" ")
            unit = waiting.get(job)
            if unit is None:
                continue
            if state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"):
                word = {"PENDING": "waits in the queue", "RUNNING": "starts"}.get(state, state.lower())
                self._jobs[unit] = word if reason in ("None", "", "(null)") else word + " (" + reason[:80] + ")"
            else:
                self._lost[unit] = "job %s ended (%s) before its worker was there" % (job, state.lower())

    async def _start_again(self):
        """Ask once more for workers that were there and have gone, as when a job's time was over."""
        cluster = self._cluster
        workers, specs = getattr(cluster, "workers", None), getattr(cluster, "worker_spec", None)
        if not isinstance(workers, dict) or not isinstance(specs, dict) or not hasattr(cluster, "_correct_state"):
            return
        if set(specs) <= set(workers) or time.monotonic() < self._again_at or not self._calls.empty():
            return
        self._again_at = time.monotonic() + AGAIN_SECONDS
        await self._correct()

    def _drain(self):
        """Copy what remote processes print to files: unread it would stop them once the connection's buffer is full."""
        workers = getattr(self._cluster, "workers", None)
        named = dict(workers) if isinstance(workers, dict) else {}
        named["scheduler"] = getattr(self._cluster, "scheduler", None)
        for name, one in named.items():
            process = getattr(one, "proc", None)
            if process is not None and hasattr(process, "stderr") and id(process) not in self._drains:
                # The process is kept too, so that its number isn't another one's.
                task = asyncio.ensure_future(self._copy(process, str(name)))
                self._drains[id(process)] = (process, task)

    async def _copy(self, process, name):
        if not self._spec.get("logs") or not re.match(r"[A-Za-z0-9_-]{1,40}$", name):
            path = os.devnull
        else:
            path = os.path.join(self._spec["logs"], name + ".log")

        async def copy(stream):
            while True:
                text = await stream.read(LINE)
                if not text:
                    return
                try:
                    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
                    try:
                        os.write(descriptor, text.encode("utf-8", "replace") if isinstance(text, str) else text)
                    finally:
                        os.close(descriptor)
                except OSError:
                    # Read on all the same.
                    pass

        await asyncio.gather(copy(process.stdout), copy(process.stderr), return_exceptions=True)


class _Way:
    """What the text ``relay`` needs of a client: where the scheduler is, and the certificates that stay in this process."""

    def __init__(self, cluster):
        self.scheduler = self
        self.address = cluster.scheduler_address
        self.connection_args = cluster.security.get_connection_args("client")


def _made(spec, **more):
    """Return what the class returns; the name may be one of its methods, which joins a cluster that runs."""
    found = operator.attrgetter(spec["name"])(importlib.import_module(spec["module"]))
    return found(*spec["args"], **dict(spec["kwargs"], asynchronous=True, **more))


async def _offers(spec):
    """Return the options that a gateway declares, and the user's clusters there."""
    gateway = _made(spec)
    try:
        declared = await gateway.cluster_options()
        clusters = await gateway.list_clusters()
    finally:
        await _done(gateway.close())
    fields = getattr(declared, "_fields", {})
    return {
        "options": [_declared(name, declared[name], fields.get(name)) for name in declared],
        "clusters": [
            {"name": one.name, "status": one.status.name.lower(), "started": one.start_time.timestamp()}
            for one in clusters
        ],
    }


def _declared(name, value, field):
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
    kind = next((word for cls, word in kinds if isinstance(value, cls)), "")
    if type(field).__name__ == "Float":
        kind = "number"
    return {
        "name": name,
        "type": kind,
        "label": str(getattr(field, "label", name)),
        "default": value if kind else None,
        "minimum": getattr(field, "min", None),
        "maximum": getattr(field, "max", None),
        "choices": list(getattr(field, "options", ())),
    }


async def _done(result):
    return await result if inspect.isawaitable(result) else result


def _is_ssh(cluster):
    specs = getattr(cluster, "worker_spec", None)
    scheduler = getattr(cluster, "scheduler_spec", None)
    if not isinstance(specs, dict) or not isinstance(scheduler, dict):
        return False
    return getattr(scheduler.get("cls"), "__module__", "") == "distributed.deploy.ssh"


def _spread(cluster):
    """Let an SSH cluster scale, which Dask's own doesn't: one process for each worker, on the host that has fewest."""
    templates = list(cluster.worker_spec.values())
    cluster.worker_spec.clear()
    homes = {}

    def guarded(options):
        return dict(options, remote_python=GUARD + (options.get("remote_python") or sys.executable))

    def new_worker_spec():
        for name in [name for name in homes if name not in cluster.worker_spec]:
            del homes[name]
        counts = [sum(home == i for home in homes.values()) for i in range(len(templates))]
        number = 0
        while str(number) in cluster.worker_spec or str(number) in cluster.workers:
            number += 1
        name = str(number)
        homes[name] = counts.index(min(counts))
        template = templates[homes[name]]
        options = guarded(template["options"])
        options["kwargs"] = dict(options.get("kwargs") or {}, name=name)
        options["kwargs"].pop("n_workers", None)
        return {name: dict(template, options=dict(options, name=name))}

    cluster.scheduler_spec = dict(cluster.scheduler_spec, options=guarded(cluster.scheduler_spec["options"]))
    cluster.new_worker_spec = new_worker_spec


def _encrypt(paths):
    """Have all processes of the cluster use these certificates; return them for the class."""
    import dask.config
    from distributed.security import Security

    roles = ("scheduler", "worker", "client")
    # Remote processes inherit the configuration, and so only the paths.
    prefix = "distributed.comm."
    settings = {prefix + "require-encryption": True, prefix + "tls.ca-file": paths["ca"]}
    for role in roles:
        settings.update({prefix + "tls." + role + "." + part: paths[part] for part in ("cert", "key")})
    dask.config.set(settings)
    return Security(
        tls_ca_file=paths["ca"],
        require_encryption=True,
        **{"tls_%s_cert" % role: paths["cert"] for role in roles},
        **{"tls_%s_key" % role: paths["key"] for role in roles},
    )


def _tls(security):
    """Return the certificates of a client as PEM texts; None where connections aren't encrypted."""
    if security is None or not getattr(security, "require_encryption", False):
        return None
    config = security.get_tls_config_for_role("client")
    found = {}
    for ours, theirs in (("ca", "ca_file"), ("cert", "cert"), ("key", "key")):
        value = config.get(theirs)
        if not value:
            return None
        if "\n" not in value:
            with open(value) as file:
                value = file.read()
        found[ours] = value
    return found


def _watch_stdin(loop, host):
    """Pass lines of stdin on; when it ends, this process ends in bounded time even if its loop is blocked."""
    for line in sys.stdin:
        if line.strip():
            loop.call_soon_threadsafe(host.take, line)
    try:
        loop.call_soon_threadsafe(host.take, None)
    except RuntimeError:
        return
    time.sleep(START_SECONDS + CLOSE_SECONDS + 15.0)
    os._exit(1)


def _keep_in_memory(module):
    """Have the keys of a gateway, which its client writes to temporary files to read them, never be on a disk."""
    memory = "/dev/shm"  # noqa: S108 - what is made there has a name that nobody knows before
    if module.partition(".")[0] == "dask_gateway" and os.access(memory, os.W_OK | os.X_OK):
        tempfile.tempdir = memory


def _keep_lock():
    held = os.environ.pop("COILED_JUPYTER_ALIVE", "")
    if held.isdigit():
        # The batch system's commands, and what they start, don't hold the lock.
        os.set_inheritable(int(held), False)


async def _main(output, spec):
    _keep_in_memory(spec["module"])
    host = _Host(output, spec)
    if spec.get("ask"):
        try:
            output.send(event="offers", **await _offers(spec))
        except Exception as error:
            host.tell_failure(error)
        return
    thread = threading.Thread(target=_watch_stdin, args=(asyncio.get_running_loop(), host), daemon=True)
    thread.start()
    await host.run()


if __name__ == "__main__":
    _keep_lock()
    # A file in the working folder must not shadow a module.
    sys.path[:] = [entry for entry in sys.path if entry]
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    first = sys.stdin.readline()
    if first.strip():
        asyncio.run(_main(_Output(), json.loads(first)))
    sys.stderr.flush()
    os._exit(0)
