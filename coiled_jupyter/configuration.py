"""The settings of an administrator: declared once, read from Jupyter's files or from the traits of the server extension."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, inspect

from .core.errors import Unavailable
from .core.paces import NORMAL, Paces
from .core.wire import Option

_FILES = ("jupyter_config", "jupyter_server_config", "jupyter_coiled_jupyter_config")


def _paces() -> Paces:
    """Return the paces, times the factor in ``COILED_JUPYTER_PACE`` (0.01 to 100); tests run with a tenth."""
    try:
        return NORMAL.scaled(min(max(float(os.environ.get("COILED_JUPYTER_PACE", "1")), 0.01), 100.0))
    except ValueError:
        raise Unavailable("COILED_JUPYTER_PACE isn't a number", "Set it to a factor such as 0.1, or unset it") from None


class ConfiguredFactory(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"cluster_class": "class"}
):
    """A kind of cluster as an administrator writes it: `like` another one, or a `class` of its own.

    Attributes
    ----------
    like
        The kind whose options and arguments it begins with; those that `kwargs` decides are no options any more.
    cluster_class
        ``module:Class`` with the interface of ``distributed.deploy.Cluster``, or a function that returns such a cluster.
    args, kwargs
        What it is called with. `kwargs` come before what a user chooses.
    options
        For a class of its own: the keywords that a user may choose.
    requires
        For a class of its own: the distributions that have it.
    adapts
        For a class of its own: who decides how many workers there are while it adapts.
    counted
        Whether its cores count for the user's limit; false where the platform has a limit of its own.
    workers
        How many it starts with where nothing else is said.

    """

    like: str = ""
    cluster_class: str = ""
    title: str = ""
    description: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    requires: tuple[str, ...] = ()
    adapts: Literal["own", "platform"] = "own"
    counted: bool = True
    workers: int = 2


class Configuration(msgspec.Struct, kw_only=True, frozen=True):
    """What an administrator decides; and the paces, which come from the environment.

    What has a description here is a setting: a trait of ``CoiledJupyter``, read from Jupyter's files, and a line of the
    reference in the documentation.
    """

    core_limit: Annotated[
        int, Meta(ge=0, description="Cores that all clusters of one user may run at once on this host.")
    ] = 100
    worker_limit: Annotated[int, Meta(ge=1, description="Workers that one cluster may have.")] = 200
    cluster_limit: Annotated[int, Meta(ge=1, description="Clusters that one user may run at once on this host.")] = 20
    lease_seconds: Annotated[
        float,
        Meta(ge=1, description="Seconds that a cluster lives on without a server, kernel or client that uses it."),
    ] = 600.0
    index_options: Annotated[tuple[str, ...], Meta(description="Options for uv that choose package indexes.")] = ()
    allow_source_builds: Annotated[
        bool, Meta(description="Let uv build source distributions, which runs their code.")
    ] = False
    allowed_in_files: Annotated[
        tuple[Literal["options", "paths", "urls", "vcs"], ...],
        Meta(
            description="What imported files of requirements may have besides names and versions: index options, "
            "paths and URLs of archives and projects, commits of repositories (vcs)."
        ),
    ] = ()
    allowed_addresses: Annotated[
        tuple[str, ...],
        Meta(description="Hosts that may be attached: names with * or networks; empty: all but link-local ones."),
    ] = ()
    tls_roots: Annotated[tuple[str, ...], Meta(description="Folders below which certificate files may lie.")] = ("~",)
    dashboard: Annotated[
        bool,
        Meta(
            description="Give new clusters Dask's own dashboard where they have bokeh: on loopback, without a password."
        ),
    ] = True
    dashboard_template: Annotated[
        str,
        Meta(
            description="Where a browser finds a dashboard, with {host} and {port}; a path is one of this server, such as "
            "proxy/{port}/status. Empty: at that host and port."
        ),
    ] = ""
    rules_file: Annotated[
        str, Meta(description="A file of rules that come before each user's; see core/rules.toml for its form.")
    ] = ""
    load_magic: Annotated[
        bool,
        Meta(description="Let kernels that have this package load %coiled by themselves, without %load_ext."),
    ] = False
    factories: Annotated[
        dict[str, ConfiguredFactory],
        Meta(
            description="More kinds of clusters by name: `like` another one or a `class` (module:Class), with `kwargs`, "
            "`args`, `options`, `title`, `description`, `requires`, `adapts`, `counted` and `workers`; see deployments."
        ),
    ] = {}
    paces: Paces = msgspec.field(default_factory=_paces)

    def __post_init__(self) -> None:
        """Raise ValueError for a template that can't be filled in."""
        try:
            self.dashboard_template.format(host="", port=0)
        except (LookupError, ValueError, AttributeError):
            raise ValueError("dashboard_template may have {host} and {port}, and no other braces") from None


class Setting(NamedTuple):
    """One setting as it is declared: its type in msgspec's terms, its default, and what it is for."""

    kind: inspect.Type
    default: Any
    help: str


def settings() -> dict[str, Setting]:
    """Return the settings of an administrator by name."""
    declared = inspect.type_info(Configuration)
    return {
        field.name: Setting(field.type.type, _default(field), (field.type.extra_json_schema or {})["description"])
        for field in (declared.fields if isinstance(declared, inspect.StructType) else ())
        if isinstance(field.type, inspect.Metadata)
    }


def _default(field: inspect.Field) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def made(values: Mapping[str, Any]) -> Configuration:
    """Return the configuration with these settings.

    Raises
    ------
    Unavailable
        A setting has an invalid value.

    """
    try:
        return msgspec.convert(values, Configuration, strict=False)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"Jupyter's configuration has an invalid CoiledJupyter setting: {error}", "Correct it"
        ) from None


def read() -> Configuration:
    """Return what Jupyter's configuration files say, as a server that is started now would read them.

    Raises
    ------
    Unavailable
        A file can't be read, or has an invalid value.

    """
    from jupyter_core.paths import jupyter_config_path
    from traitlets.config.loader import Config, ConfigFileNotFound, JSONFileConfigLoader, PyFileConfigLoader

    merged = Config()
    for folder in reversed(jupyter_config_path()):
        names = [f"{name}.{kind}" for name in _FILES for kind in ("json", "py")]
        names += sorted(str(path.relative_to(folder)) for path in Path(folder).glob("jupyter_server_config.d/*.json"))
        for name in names:
            loader = PyFileConfigLoader if name.endswith(".py") else JSONFileConfigLoader
            try:
                merged.merge(loader(name, path=folder).load_config())
            except ConfigFileNotFound:
                continue
            except Exception as error:  # noqa: BLE001 - the file is a program of the user's
                raise Unavailable(
                    f"Jupyter's configuration file {Path(folder, name)} can't be read: {type(error).__name__}",
                    "Repair it; it may have an administrator's limits",
                ) from None
    return made({name: value for name, value in merged.get("CoiledJupyter", {}).items() if name in settings()})
