"""What a Jupyter server pays for importing the extension."""

from __future__ import annotations

import subprocess
import sys

from .table import Figure, median

_CODE = """
import time
import jupyter_server.serverapp, jupyter_server.extension.application
start = time.perf_counter()
import coiled_jupyter
coiled_jupyter._jupyter_server_extension_points()
print(time.perf_counter() - start)
"""


def measure(rounds: int) -> list[Figure]:
    """Return the seconds of the extension's import in fresh processes that have imported jupyter_server."""
    times = []
    for _ in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
        times.append(float(done.stdout))
    # The first one may compile.
    return [Figure("Import of the server extension, with jupyter_server imported", median(times[1:]), limit=0.05)]
