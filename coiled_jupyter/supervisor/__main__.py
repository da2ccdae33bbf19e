"""Entry point of a supervisor: reads its spec from stdin and runs until the cluster has ended."""

import asyncio
import sys

import msgspec

from ..core.cluster import LaunchSpec
from .process import Supervisor

if __name__ == "__main__":
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=LaunchSpec)
    sys.stdin.close()
    asyncio.run(Supervisor(spec).run())
