"""The site is built without a broken link, and what its pages tell a person to do can be done."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import nbformat
import pytest
import yaml
from jsonschema import Draft202012Validator
from nbclient import NotebookClient
from packaging.requirements import Requirement

from coiled_jupyter.commands.parser import parser
from coiled_jupyter.core.wire import Diff, RowStatus, Severity, Verdict
from coiled_jupyter.ipython.magics import cell_parser, make_parser
from coiled_jupyter.server.app import CoiledJupyter
from tests.nightly import each_night
from tests.processes import apart

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = sorted(ROOT.glob("*.md"))
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *OUTSIDE]
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
TELLS = {"first-look": "'2.", "sync-in-cells": "True", "cells-on-a-cluster": "45"}
"""What the value of one of an example's cells is, or begins with."""
WORKFLOW = ROOT / "examples" / "ci" / "versions.yml"


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, made)
    assert done.returncode == 0, done.stderr
    return made


def test_the_reference_has_every_command_trait_setting_and_route(site):
    reference = site / "reference"
    commands = (reference / "commands.html").read_text()
    assert all(f'id="{name}"' in commands for name in ("diff", "sync", "cluster-create", "software-install"))
    assert "%%coiled" in commands
    traits = (reference / "configuration.html").read_text()
    assert all(f"<code>{name}</code>" in traits for name in CoiledJupyter.class_own_traits(config=True))
    settings = json.loads((ROOT / "labextension/schema/plugin.json").read_text())["properties"]
    assert all(f"<code>{name}</code>" in (reference / "settings.html").read_text() for name in settings)
    rest = (reference / "rest.html").read_text()
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    routes = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    assert all(f"<code>{route}</code>" in rest for route in routes)
    assert all(f'id="{name.lower()}"' in rest for name in document["components"]["schemas"])
    assert WORKFLOW.read_text().splitlines()[0] in (site / "ci.html").read_text()
    modules = re.findall(r"<td><code>(\S+?)</code></td>\s*<td>(.*?)</td>", (reference / "modules.html").read_text())
    written = [path.name for path in (ROOT / "coiled_jupyter").rglob("*.py")]
    assert sorted(name for name, _ in modules if name.endswith(".py")) == sorted(written)
    assert [name for name, sentence in modules if not sentence] == []


def test_every_setting_says_what_it_is_and_an_administrator_can_choose_another_default():
    """The lab's editor shows titles and descriptions, and `overrides.json` replaces defaults of what a schema names."""
    schema = json.loads((ROOT / "labextension/schema/plugin.json").read_text())
    settings = list(schema["properties"].items())
    for name, one in settings:
        assert all(one[key].strip() for key in ("title", "description")), name
        Draft202012Validator(one).validate(one["default"])
        if one["type"] == "object":
            inner = one["properties"]
            settings += [(f"{name}.{key}", value) for key, value in inner.items()]
            assert one["default"] == {key: value["default"] for key, value in inner.items()}
    assert len(settings) > 8
    assert schema["additionalProperties"] is False


def test_nothing_of_a_page_comes_from_another_host(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*?\b(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert [url for url in loaded if "127.0.0.1" not in url] == [], page


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "sync.md").write_text("# Sync\n")
    for name, fault in (("index", "nowhere.md"), ("part", "sync.md#nowhere"), ("top", "/sync.md")):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# Start\n\n[x]({fault})\n")
    text = (ROOT / "mkdocs.yml").read_text()
    kept = re.sub(r"^(hooks|nav|exclude_docs):.*?(?=^\w|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "mkdocs.yml").write_text(kept)
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    warned = sorted(line for line in done.stderr.splitlines() if line.startswith("WARNING"))
    assert len(warned) == 3, done.stderr
    for line, page, word in zip(
        warned, ("index.md", "part.md", "top.md"), ("nowhere", "nowhere", "absolute"), strict=True
    ):
        assert page in line
        assert word in line


def lines(page: Path) -> list[str]:
    """Return the commands that a page shows, of its blocks of code."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL) + re.findall(
        r"(?:^    .*\n)+", text, re.MULTILINE
    )
    found = [line.strip() for block in blocks for line in block.splitlines()]
    spans = [span for span in re.findall(r"`((?:coiled-jupyter|%coiled) [^`]+)`", text) if "…" not in span]
    return [line for line in [*found, *spans] if re.match(r"(?:\w+ = )?(coiled-jupyter|%{1,2}coiled)\b", line)]


def test_every_command_that_a_page_shows_is_one():
    shown = [(page.name, line) for page in PAGES for line in lines(page)]
    assert len(shown) > 40
    for page, line in shown:
        words = shlex.split(re.sub(r"^\w+ = ", "", line), comments=True)
        top = {"coiled-jupyter": parser, "%coiled": lambda: parser(notebook=True), "%%coiled": cell_parser}[words[0]]()
        try:
            top.parse_args(words[1:])
        except SystemExit:
            pytest.fail(f"{page}: {line}")
    assert make_parser().prog == "%coiled"


def test_the_workflow_runs_commands_that_are_ones(tmp_path):
    """Each step's shell, with the command in the place of what a runner would have: the arguments must be right."""
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["compare"]["steps"]
    shells = [step["run"] for step in steps if "coiled-jupyter diff" in step.get("run", "")]
    assert len(shells) == 2
    env = {
        **os.environ,
        "SCHEDULER": "tcp://127.0.0.1:1",
        **apart(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for shell in shells:
        done = subprocess.run(
            ["bash", "-e", "-c", shell], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        # Nobody is at that address: it can't be read, which is no success.
        assert done.returncode == 3, done.stderr
    assert json.loads((tmp_path / "diff.json").read_text())["verdict"] == "unknown"
    assert set(Diff.__struct_fields__) == set(json.loads((tmp_path / "diff.json").read_text()))


def test_links_of_the_pages_outside_the_site_lead_somewhere():
    """The site's own are checked when it is built; a forge shows these."""
    for page in OUTSIDE:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith(("https:", "http:")):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            assert file.exists(), (page.name, target)
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_what_is_cited_is_what_is_packaged():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    package = json.loads((ROOT / "package.json").read_text())
    assert (cited["version"], cited["license"], cited["url"]) == tuple(
        package[key] for key in ("version", "license", "homepage")
    )
    assert cited["authors"] == [package["author"]]


def test_every_dependency_is_explained():
    """Scoped packages of one family share a cell, in which the later names stand without their scope."""
    text = (ROOT / "docs/dependencies.md").read_text()
    named: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        names = re.findall(r"`([^`]+)`", row)
        scope = names[0].rpartition("/")[0]
        named |= {*names, *(f"{scope}/{name}" for name in names)}
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    package = json.loads((ROOT / "package.json").read_text())
    declared = {Requirement(line).name for line in wanted} | {*package["dependencies"], *package["devDependencies"]}
    assert declared - named == {"coiled-jupyter"}


def test_issue_forms_can_be_shown_and_name_the_severities_there_are():
    forms = {path.stem: yaml.safe_load(path.read_text()) for path in FORMS.glob("*.yml") if path.stem != "config"}
    assert set(forms) == {"bug", "feature", "rule"}
    for form in forms.values():
        assert {"name", "description", "body"} <= set(form)
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        assert all(part["type"] in ("textarea", "input", "dropdown") for part in fields)
        assert all(part["attributes"]["label"].strip() for part in fields)
        assert len({part["id"] for part in fields}) == len(fields) > 1
    (severity,) = (part for part in forms["rule"]["body"] if part.get("id") == "severity")
    named = [option.split(" ")[0] for option in severity["attributes"]["options"]]
    assert tuple(named) == get_args(Severity)


def test_the_glossary_names_what_the_wire_takes():
    """Each status, severity and verdict is explained, and none that isn't there."""
    text = (ROOT / "docs/glossary.md").read_text()
    assert set(get_args(RowStatus)) <= set(re.findall(r"`(\w+)`", text))
    words = text.partition("### Severities and verdicts")[2].partition("\n## ")[0]
    severities, verdicts = (re.findall(r"^\| `(\w+)` ", table, re.MULTILINE) for table in words.split("| Verdict |"))
    assert (tuple(severities), tuple(verdicts)) == (get_args(Severity), get_args(Verdict))


@pytest.mark.parametrize(
    "path",
    each_night(EXAMPLES, [path for path in EXAMPLES if path.stem == "first-look"]),
    ids=lambda path: path.stem,
)
def test_an_example_runs_from_its_first_cell_to_its_last(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    env = {**os.environ, **apart()}
    NotebookClient(notebook, timeout=180, kernel_name="python3").execute(env=env, cwd=str(tmp_path))
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert all(output.output_type != "error" for output in outputs)
    values = [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"]
    assert any(value.startswith(TELLS[path.stem]) for value in values), values
    left = json.loads(
        subprocess.run(
            [sys.executable, "-m", "coiled_jupyter.cli", "cluster", "list", "--json"],
            capture_output=True,
            text=True,
            env=env,
            check=True,
        ).stdout
    )
    assert [cluster for cluster in left if cluster["status"] not in ("stopped", "failed")] == []


def test_the_examples_have_no_outputs():
    for path in EXAMPLES:
        assert all(not cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
