"""Entry point of a supervisor: reads its spec from stdin and runs until the cluster has ended."""

import asyncio
import logging
import sys

import msgspec

from ..core.launch import LaunchSpec
from .supervisor import Supervisor

if __name__ == "__main__":
    # The form of Dask's own lines, which tells their time.
    logging.basicConfig(format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    logging.getLogger("coiled_jupyter").setLevel(logging.INFO)
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=LaunchSpec)
    sys.stdin.close()
    asyncio.run(Supervisor(spec).run())
