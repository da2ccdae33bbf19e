"""What an admin decides: limits and defaults, from the traits of the server extension or from Jupyter's files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from .core.errors import Unavailable

_FILES = ("jupyter_config", "jupyter_server_config", "jupyter_coiled_jupyter_config")


class Configuration(msgspec.Struct, kw_only=True, frozen=True):
    """What an admin decides; the traits of ``CoiledJupyter``."""

    core_limit: int = 100
    worker_limit: int = 200
    cluster_limit: int = 20
    lease_seconds: float = 600.0
    index_options: tuple[str, ...] = ()
    allow_source_builds: bool = False
    allowed_in_files: tuple[Literal["options", "paths", "urls", "vcs"], ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    tls_roots: tuple[str, ...] = ("~",)
    rules_file: str = ""


def read() -> Configuration:
    """Return what Jupyter's configuration files say, as a server that is started now would read them.

    Raises
    ------
    Unavailable
        A file can't be read, or says what can't be.

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
                    "Repair it; the limits of an admin may stand in it",
                ) from None
    said = {name: value for name, value in dict(merged.get("CoiledJupyter", {})).items() if name in _NAMES}
    try:
        return msgspec.convert(said, Configuration, strict=False)
    except msgspec.ValidationError as error:
        raise Unavailable(
            f"Jupyter's configuration has a CoiledJupyter setting that can't be: {error}", "Correct it"
        ) from None


_NAMES = frozenset(Configuration.__struct_fields__)
