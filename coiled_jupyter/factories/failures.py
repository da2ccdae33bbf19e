"""What a person can do about a platform's refusal, by the platform's own words."""

from __future__ import annotations

import re

from ..core.errors import Unavailable

_LIMIT = 600
# In this order: the first that fits.
_STEPS = (
    (r"No dask-gateway address", "Set gateway.address in Dask's configuration, in a file of ~/.config/dask, or ask the administrator for it"),
    (r"would exceed resource limit of", "Ask for fewer workers, or the gateway's administrator for more"),
    (r"401[^:]*Unauthorized.*/api/v1/", "Check gateway.auth in Dask's configuration, and the password or token that it names"),
    (r"Host key is not trusted|HostKeyNotVerifiable", "Log in once with `ssh` to accept that machine's key"),
    (r"Permission denied|PermissionDenied|No more authentication methods", "Log in with `ssh` to see that it takes your key without a password, or start ssh-agent"),
    (r"passphrase|KeyEncryptionError", "Add the key to ssh-agent with `ssh-add`"),
    (r"Name or service not known|nodename nor servname|getaddrinfo", "Check the name of the machine"),
    (r"Connection refused|ConnectionRefused|Connect call failed", "Check that something listens there, and at which port"),
    (r"timed? ?out|Timeout", "Check that the machine can be reached from this one"),
    (r"(?i)invalid partition|unknown queue|no such queue|queue .*not", "Choose a queue that the system has, as `sinfo` or `qstat -Q` lists them"),
    (r"(?i)invalid account|account/partition", "Choose an account that you may charge"),
    (r"(?i)node configuration is not available|exceeds|QOS|limit", "Ask for less memory, fewer threads or a shorter time, or for another queue"),
    (r"(?i)time limit|walltime", "Ask for a time that the queue allows"),
    (r"how much cores and memory", "Give memory and threads of a worker, or set them in dask-jobqueue's configuration"),
    (r"(?i)no such file or directory: '?(sbatch|qsub|bsub|condor_submit|oarsub)|(sbatch|qsub|bsub|condor_submit|oarsub)'?$", "Use it on a machine that can submit jobs there"),
    (r"(?i)unable to contact slurm controller|communication", "Look whether the batch system runs, for example with `sinfo`"),
    (r"(?i)no such file or directory|not found", "Use an environment that is at the same path there, or ask the administrator for a factory with its Python"),
    (r"(?i)token|unauthori[sz]ed|forbidden|401|403|credential", "Log in to the platform again"),
    (r"(?i)quota", "Free what you use there, or ask for more"),
    (r"(?i)image", "Check the name of the image"),
)  # fmt: skip


def explained(
    text: str, *, kind: str = "platform", module: str = "", prefix: str = "", requires: tuple[str, ...] = ()
) -> Unavailable:
    """Return the error of a class that couldn't start its cluster: what the platform said, and what to do.

    Parameters
    ----------
    kind
        ``missing`` if a module isn't installed, which is `module`.
    prefix
        The environment that it ran in.
    requires
        The distributions that have the class.

    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LIMIT].rstrip(". ")
    if kind == "missing":
        wanted = next((name for name in requires if name.replace("-", "_") == module.partition(".")[0]), "")
        name = wanted or (requires[0] if requires else module or text)
        hint = f"Install it there, for example with `uv pip install {name}`"
        return Unavailable(f"{name} isn't in {prefix}", hint)
    hint = next((step for pattern, step in _STEPS if re.search(pattern, text)), "See its log")
    return Unavailable(text or "The platform refused it without a reason", hint)
