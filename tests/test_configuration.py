"""What an administrator sets: one declaration, from which traits, Jupyter's files and the documentation follow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from traitlets.config import Config

from coiled_jupyter import configuration
from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.server.app import CoiledJupyter

SETTINGS = configuration.settings()
DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the settings of a file of Jupyter's, which is the only one."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))

    def write(**values: object) -> None:
        (tmp_path / "jupyter_server_config.json").write_text(json.dumps({"CoiledJupyter": values}))

    return write


def test_every_setting_is_a_trait_with_its_default_and_its_help():
    traits = {n: t for n, t in CoiledJupyter.class_own_traits(config=True).items() if n in SETTINGS}
    assert set(traits) == set(SETTINGS)
    made = CoiledJupyter()
    for name, setting in SETTINGS.items():
        value = getattr(made, name)
        assert (tuple(value) if isinstance(value, list) else value) == setting.default
        assert traits[name].help == setting.help
    assert configuration.made({}) == configuration.Configuration()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("core_limit", -1),
        ("core_limit", "many"),
        ("worker_limit", 0),
        ("lease_seconds", 0.5),
        ("allowed_in_files", ["everything"]),
        ("index_options", [1]),
    ],
)
def test_what_a_trait_refuses_a_file_can_not_say_either(files, name, value):
    files(**{name: value})
    with pytest.raises(Unavailable, match=name):
        configuration.read()
    with pytest.raises(Exception, match=name):
        CoiledJupyter(config=Config({"CoiledJupyter": {name: value}}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("core_limit", 0),
        ("lease_seconds", 1),
        ("allowed_in_files", ["vcs", "paths"]),
        ("tls_roots", ["/etc/ssl"]),
        ("load_magic", True),
    ],
)
def test_what_a_file_says_holds_for_a_shell_as_for_a_server(files, name, value):
    files(**{name: value})
    trait = getattr(CoiledJupyter(config=Config({"CoiledJupyter": {name: value}})), name)
    read = getattr(configuration.read(), name)
    assert (list(read) if isinstance(read, tuple) else read) == trait == value


@pytest.mark.parametrize("template", ["{", "{user}", "{0}", "{host.name}"])
def test_a_template_of_dashboards_that_can_not_be_filled_in_is_refused(files, template):
    files(dashboard_template=template)
    with pytest.raises(Unavailable, match="dashboard_template"):
        configuration.read()


def test_what_is_no_setting_can_not_be_set(files):
    files(paces={"poll": 99}, nonsense=1)
    assert configuration.read() == configuration.Configuration()


def test_the_documentation_names_settings_that_there_are():
    named = set()
    for page in DOCS.glob("*.md"):
        named |= set(re.findall(r"c\.CoiledJupyter\.(\w+)", page.read_text()))
    assert named <= set(SETTINGS)
    assert len(named) > 3
