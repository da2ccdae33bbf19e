# PYTHON_ARGCOMPLETE_OK
"""The `coiled-jupyter` command: all that the panel does, without a browser, on the same service as the server.

Exit codes: 0 done (diff: no row at or above --fail-on), 1 such rows or a failure, 2 wrong usage, 3 something could not be read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        # Imported here, so that an interrupt during the import is handled too.
        from .commands.terminal import main as run

        return run(argv)
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
