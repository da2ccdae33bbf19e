"""Explanations: which differences explain a traceback or a warning of Dask's."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from .base import Request, Wire
from .diff import Row, Verdict

Basis: TypeAlias = Literal["named", "fits", "warned", "none"]
"""The evidence of an explanation: the text names the package, its symptom fits, it is Dask's warning, or none."""


class ExplainRequest(Request, frozen=True, kw_only=True):
    """Body of ``POST explain``: the text of a traceback or of a warning of Dask's, and the kernel that printed it.

    Without a kernel, the cluster is compared with the Python of the server.
    """

    kernel: Annotated[str, Meta(max_length=200)] | None = None
    cluster: Annotated[str, Meta(max_length=200)]
    text: Annotated[str, Meta(min_length=1, max_length=200_000)]


class NotebookImports(Request, frozen=True, kw_only=True):
    """Body of ``PUT kernels/{id}/imports``: of each code cell, saved or not, the lines that import something."""

    cells: Annotated[tuple[Annotated[str, Meta(max_length=2000)], ...], Meta(max_length=2000)]


class KernelSeal(Request, frozen=True, kw_only=True):
    """Body of ``PUT kernels/{id}/seal``: whether the kernel's clients send sealed graphs to a cluster's scheduler."""

    cluster: Annotated[str, Meta(min_length=1, max_length=200)]
    sealed: bool


class Cause(Wire, frozen=True, kw_only=True):
    """A row of the diff that explains a failure, the part of the text that is the `evidence`, and the reason."""

    row: Row
    evidence: str
    why: str


class Explanation(Wire, frozen=True, kw_only=True):
    """Answer of ``POST explain``, the most severe cause first. `text` is a summary, with what could not be read."""

    text: str
    causes: tuple[Cause, ...]
    basis: Basis
    verdict: Verdict
