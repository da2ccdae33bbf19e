"""A cluster for the length of a block, in a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

SCRIPT = """
import sys
import coiled_jupyter

if __name__ == "__main__":
    try:
        with coiled_jupyter.cluster(workers=1, name="block") as client:
            print(client.submit(pow, 2, 10).result())
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


@pytest.mark.parametrize("fails", [False, True])
def test_it_lives_as_long_as_its_block(tmp_path, fails):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "COILED_JUPYTER_RUNTIME_DIR": tempfile.mkdtemp(prefix="cj-")}
    command = [sys.executable, str(script), *(["fail"] if fails else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said == ["1024", *(["in the block"] if fails else []), "Unavailable True", "Invalid"]
    listed = [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "list", "--json"]
    assert json.loads(subprocess.run(listed, capture_output=True, text=True, env=env, check=True).stdout) == []
