"""Runs a Dask scheduler or nanny that ends with the supervisor: ``python -c <this text> <arguments of dask_spec>``.

Rules: Python 3.8, standard library only before Dask's own command starts. The supervisor holds the other end of stdin;
when that closes, whoever closed it, this process group ends, stopped members too.
"""

import os
import signal
import sys
import threading
import time

GRACE_SECONDS = 3.0


def _end_with_supervisor():
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _die_with_parent():
    # Linux only: ends this process even while it is stopped and can't see the end of its stdin.
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
        except Exception:
            pass


if __name__ == "__main__":
    _die_with_parent()
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    import runpy

    sys.argv[0] = "dask_spec"
    runpy.run_module("distributed.cli.dask_spec", run_name="__main__", alter_sys=True)
