"""Writes the code by which a notebook connects to a cluster, for what its kernel has."""

from __future__ import annotations

from collections.abc import Collection

from .launch import Certificates
from .wire import ClientCode

OURS, DASK = "coiled-jupyter", "distributed"


def client_code(
    name: str, address: str, certificates: Certificates | None, installed: Collection[str] | None
) -> ClientCode:
    """Return code for a cell: by the cluster's name where `coiled_jupyter` can be imported, else with Dask alone.

    Every text of a peer is a literal in it, so that no name or address adds code.

    Parameters
    ----------
    certificates
        The files for TLS; None without it.
    installed
        The normalized names of what the kernel has; None if that couldn't be read.

    """
    if installed is not None and OURS in installed:
        lines = ["import coiled_jupyter", "", f"client = coiled_jupyter.connect({_literal(name)})", "client"]
        return ClientCode(code="\n".join(lines), missing=None)
    lines = ["from distributed import Client"]
    if certificates is None:
        lines += ["", f"client = Client({_literal(address)})"]
    else:
        lines += [
            "from distributed.security import Security",
            "",
            "security = Security(",
            f"    tls_ca_file={_literal(certificates.ca)},",
            f"    tls_client_cert={_literal(certificates.cert)},",
            f"    tls_client_key={_literal(certificates.key)},",
            "    require_encryption=True,",
            ")",
            f"client = Client({_literal(address)}, security=security)",
        ]
    missing = DASK if installed is not None and DASK not in installed else None
    return ClientCode(code="\n".join([*lines, "client"]), missing=missing)


def _literal(text: str) -> str:
    """Return a Python literal in double quotes, as formatters write it."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else char.encode("unicode_escape").decode()
