"""Real platforms on loopback for tests: an SSH server and a Slurm, each with files, ports and keys of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .processes import free_port, wait_for

_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_PACKAGES = {
    "sshd": ("openssh-server",),
    **dict.fromkeys(("slurmctld", "slurmd", "munged"), ("slurm-wlm", "munge")),
}


def program(name: str) -> str:
    """Return the path of a server's program, installed from Debian's packages if need be; else skip the test."""
    with Path(tempfile.gettempdir(), "coiled-jupyter-platforms.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = shutil.which(name, path=_SBIN)
        if found is None and shutil.which("apt-get") and os.geteuid() == 0:
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (
                ["apt-get", "update", "-q"],
                ["apt-get", "install", "-y", "-q", "--no-install-recommends", *_PACKAGES[name]],
            ):
                subprocess.run(command, check=False, capture_output=True, env=environ)
            found = shutil.which(name, path=_SBIN)
    if found is None:
        pytest.skip(f"There is no {name} on this machine, and {_PACKAGES[name][0]} can't be installed")
    return found


@contextlib.contextmanager
def running(*command: object, log: Path, environ: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the length of a block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdout=output, stderr=output, env=environ, start_new_session=True
        )
    try:
        yield process
    finally:
        started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for left in started:
            if left.is_running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left.pid, signal.SIGKILL)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class SSH:
    """An SSH server with a key of its own, and a key that it accepts."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.key, self.known = folder / "key", folder / "known_hosts"

    def factory(self, **more: object) -> dict[str, object]:
        """Return what an administrator configures, so that it is used on this machine."""
        connect = {"port": self.port, "known_hosts": str(self.known), "client_keys": [str(self.key)], "config": []}
        loopback = {"host": "127.0.0.1"}
        kwargs = {"connect_options": connect, "scheduler_options": loopback, "worker_options": loopback}
        return {"like": "ssh", "title": "The test's machines", "kwargs": kwargs, **more}


@contextlib.contextmanager
def ssh(folder: Path) -> Iterator[SSH]:
    """Run an SSH server."""
    server, port = program("sshd"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    made = SSH(folder, port)
    for key in (folder / "host", made.key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "authorized").write_text(made.key.with_suffix(".pub").read_text())
    public = (folder / "host.pub").read_text()
    made.known.write_text(f"[127.0.0.1]:{port} {public}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\n"
        f"PidFile {folder / 'pid'}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "MaxStartups 100\nSetEnv COILED_JUPYTER_TESTS=1\n"
    )
    # Debian's own script makes it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = folder / "log"
    with running(server, "-D", "-e", "-f", folder / "sshd_config", log=log) as process:
        wait_for(lambda: listens(port) or process.poll() is not None, what="sshd")
        assert process.poll() is None, log.read_text()
        yield made


class Slurm:
    """A Slurm of one node; its commands need `environ`."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.environ = folder, environ

    def factory(self, **more: object) -> dict[str, object]:
        """Return what an administrator configures, so that it is used on this machine."""
        return {"like": "slurm", "title": "The test's queue", "kwargs": {"interface": "lo"}, **more}

    def jobs(self) -> list[str]:
        """Return the jobs that wait, run or end: id, state and reason of each."""
        found = subprocess.run(
            ["squeue", "-h", "-o", "%i %T %r"], env=self.environ, capture_output=True, text=True, check=True
        )
        return found.stdout.splitlines()


_SLURM = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
CommunicationParameters=NoAddrCache
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
"""


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Run a Slurm with one node of four cores."""
    controller = program("slurmctld")
    # The path of munge's socket is bounded, and munge refuses folders that others can write to.
    folder = Path(tempfile.mkdtemp(prefix="cj-slurm-", dir="/run" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    host, ctld = socket.gethostname().partition(".")[0], free_port()
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    (folder / "munge" / "key").chmod(0o600)
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "slurm.conf").write_text(
        _SLURM.format(host=host, ctld=ctld, slurmd=free_port(), folder=folder, user=user)
    )
    environ = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    made = Slurm(folder, environ)
    munge = folder / "munge"
    try:
        with contextlib.ExitStack() as stack:
            files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
            options = [f"--{option}={munge / name}" for option, name in files.items()]
            stack.enter_context(running(program("munged"), "-F", "--force", *options, log=munge / "out"))
            wait_for((munge / "socket").exists, what="munged")
            for name in (controller, program("slurmd")):
                log = folder / f"{Path(name).name}.log"
                stack.enter_context(running(name, "-D", log=log, environ=environ))
            wait_for(lambda: "idle" in _sinfo(environ), what="Slurm's node")
            yield made
            for job in made.jobs():
                subprocess.run(["scancel", job.split()[0]], env=environ, check=False)
            end = time.monotonic() + 10
            while made.jobs() and time.monotonic() < end:
                time.sleep(0.2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sinfo(environ: dict[str, str]) -> str:
    found = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environ, capture_output=True, text=True, check=False)
    return found.stdout
