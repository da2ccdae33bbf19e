"""A cluster for the length of a block, in a script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.nightly import each_night
from tests.processes import apart, wait_for

SCRIPT = """
import sys
import coiled_jupyter

if __name__ == "__main__":
    try:
        with coiled_jupyter.cluster(workers=1, name="breaks") as client:
            print(client.submit(pow, 2, 10).result())
            with coiled_jupyter.cluster(workers=1, name="second") as second:
                second.close()
                # Of several clusters, the one of which this process has a client.
                with coiled_jupyter.connect() as again:
                    print(again.scheduler.address == client.scheduler.address)
            if len(sys.argv) > 1:
                raise ValueError("in the block")
    except ValueError as error:
        print(error)
    try:
        with coiled_jupyter.cluster(requirements=["of-nobody==1"]):
            print("never")
    except coiled_jupyter.CoiledError as error:
        print(type(error).__name__, "of-nobody" in str(error))
    try:
        coiled_jupyter.cluster(software="nothing").__enter__()
    except coiled_jupyter.CoiledError as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("fails", each_night([False, True], [True]))
def test_it_lives_as_long_as_its_block(tmp_path, fails):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, **apart()}
    command = [sys.executable, str(script), *(["fail"] if fails else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said == ["1024", "True", *(["in the block"] if fails else []), "Unavailable True", "Invalid"]
    listed = [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "list", "--json"]
    assert json.loads(subprocess.run(listed, capture_output=True, text=True, env=env, check=True).stdout) == []


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import coiled_jupyter\n"
        "if __name__ == '__main__':\n"
        "    print('begun', flush=True)\n"
        "    with coiled_jupyter.cluster(workers=2, requirements=['iniconfig==1.1.1']):\n"
        "        print('never')\n"
    )
    env = {**os.environ, **apart()}
    listed = [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "list", "--json"]

    def clusters() -> list[dict]:
        return json.loads(subprocess.run(listed, capture_output=True, text=True, env=env, check=True).stdout)

    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            wait_for(clusters, seconds=30, what="a cluster that starts")
            process.send_signal(signal.SIGINT)
            said, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in told
    assert "never" not in said
    assert clusters() == []
