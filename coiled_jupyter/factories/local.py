"""How the processes of a local cluster are started: argv, arguments, environment and TLS files."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from pathlib import Path, PurePosixPath

from ..core.launch import LaunchSpec
from ..texts import source

_PAGES = ["distributed.http.scheduler.info", "distributed.http.health", "distributed.http.statics"]
_CLEARED = ("PYTHON", "VIRTUAL_ENV", "CONDA", "DASK_", "JUPYTER", "JPY_")


def tls_paths(folder: Path) -> dict[str, Path]:
    """Return where a cluster's ``ca``, ``cert`` and ``key`` are, written or not."""
    return {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}


def write_tls(folder: Path, hours: int = 24 * 365) -> None:
    """Make a CA and one certificate for both ends, whose keys nobody else has; the files are 0600."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=hours)
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("coiled-jupyter", "node")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]

    def certificate(index: int, *, authority: bool) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
            .sign(keys[0], hashes.SHA256())
        )

    pem = serialization.Encoding.PEM
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = {
        "ca": certificate(0, authority=True).public_bytes(pem),
        "cert": certificate(1, authority=False).public_bytes(pem),
        "key": private,
    }
    for name, path in tls_paths(folder).items():
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(contents[name])


def environ(spec: LaunchSpec, interpreter: str, folder: Path, scratch: Path) -> dict[str, str]:
    """Return the environment of all nodes, with certificates in `folder`; the user's own variables are added to a worker's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_CLEARED)}
    tls = tls_paths(folder)
    prefix = "DASK_DISTRIBUTED__COMM__"
    kept[f"{prefix}REQUIRE_ENCRYPTION"] = "True"
    kept[f"{prefix}TLS__CA_FILE"] = str(tls["ca"])
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        kept[f"{prefix}TLS__{role}__CERT"] = str(tls["cert"])
        kept[f"{prefix}TLS__{role}__KEY"] = str(tls["key"])
    # Dask's pages have no password, and every user of the machine can open them: those of the dashboard, and no others.
    kept["DASK_DISTRIBUTED__WORKER__HTTP__ROUTES"] = "[]"
    kept["DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES"] = json.dumps(_PAGES if spec.options.get("dashboard") else [])
    # Dask tidies its folder of temporary files, which is shared by all Dask processes of the machine otherwise.
    kept["DASK_TEMPORARY_DIRECTORY"] = str(scratch)
    # What a task prints is in the log at once.
    kept["PYTHONUNBUFFERED"] = "1"
    kept["PATH"] = os.pathsep.join([str(Path(interpreter).parent), kept.get("PATH", os.defpath)])
    return kept


def argv(interpreter: str) -> list[str]:
    """Return the command of the launcher, which runs nodes on request by stdin (`texts.launch`)."""
    return [interpreter, "-c", source("launch")]


def scheduler_arguments(spec: LaunchSpec, folder: Path, port: int = 0) -> list[str]:
    """Return a scheduler's arguments for ``dask_spec``; it writes its address to ``scheduler.json``."""
    options = {
        "protocol": "tls://",
        "host": "127.0.0.1",
        "port": port,
        "scheduler_file": str(folder / "scheduler.json"),
        "dashboard": bool(spec.options.get("dashboard")),
        "dashboard_address": "127.0.0.1:0",
    }
    return _specification([], "distributed.Scheduler", options)


def nanny_arguments(spec: LaunchSpec, address: str, name: str, scratch: Path) -> list[str]:
    """Return the arguments of one nanny with its one worker, which spills to `scratch`; `address` is the scheduler's."""
    options = {
        "name": name,
        "nthreads": spec.threads_per_worker,
        "host": "127.0.0.1",
        "memory_limit": worker_memory(spec),
        "death_timeout": 60,
        "dashboard": False,
        "dashboard_address": "127.0.0.1:0",
        "local_directory": str(scratch),
        "protocol": "tls://",
    }
    return _specification([address], "distributed.Nanny", options)


def _specification(positional: list[str], cls: str, options: dict[str, object]) -> list[str]:
    return [*positional, "--spec", json.dumps({"cls": cls, "opts": options})]


def machine_memory(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes that processes here may use: the machine's, or a control group's where that is less.

    A limit of any group around this process holds: of a container, a user's slice, a batch job.
    """
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # In a container the path may be the host's, and only the top is there.
    places = [(groups, "memory.max"), (groups / "memory", "memory.limit_in_bytes")]
    for line in lines:
        kinds, _, path = line.partition(":")[2].partition(":")
        top, name = places[1] if "memory" in kinds.split(",") else places[0]
        if "memory" in kinds.split(",") or not kinds:
            inner = PurePosixPath(path.lstrip("/"))
            places += [(top / folder, name) for folder in (inner, *inner.parents)]
    for folder, name in places:
        with contextlib.suppress(OSError, ValueError):
            limit = min(limit, int((folder / name).read_text(encoding="ascii")))
    return limit


def worker_memory(spec: LaunchSpec) -> int:
    """Return the bytes of one worker: as asked for, at most the machine's; where nothing is asked for, its share of the machine."""
    most = max(spec.workers, spec.adaptive.maximum if spec.adaptive else 0, 1)
    share = machine_memory() // most
    return min(spec.memory_limit or share, machine_memory())
