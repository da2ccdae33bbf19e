"""The code that connects a notebook to a cluster."""

from __future__ import annotations

import ast

import pytest

from coiled_jupyter.core.joining import client_code
from coiled_jupyter.core.launch import Certificates

FILES = Certificates(ca="/r/c/ca.pem", cert="/r/c/cert.pem", key="/r/c/key.pem")


def test_a_kernel_that_can_import_ours_connects_by_name():
    made = client_code("mine", "tls://h:1", FILES, {"coiled-jupyter", "distributed"})
    assert made.code == 'import coiled_jupyter\n\nclient = coiled_jupyter.connect("mine")\nclient'
    assert made.missing is None


@pytest.mark.parametrize("installed", [{"distributed"}, None])
def test_any_other_kernel_connects_with_dask_alone(installed):
    made = client_code("mine", "tls://h:1", FILES, installed)
    assert "coiled_jupyter" not in made.code
    assert 'tls_client_key="/r/c/key.pem",' in made.code
    assert made.code.endswith('client = Client("tls://h:1", security=security)\nclient')
    assert made.missing is None


def test_without_certificates_it_is_two_lines():
    made = client_code("mine", "tcp://h:1", None, {"distributed"})
    assert made.code == 'from distributed import Client\n\nclient = Client("tcp://h:1")\nclient'


def test_what_the_kernel_lacks_is_named():
    assert client_code("mine", "tcp://h:1", None, {"numpy"}).missing == "distributed"


@pytest.mark.parametrize("evil", ['a"); import os; ("', "a\\", 'a\n"); import os', "a\u2028b\x00\U0001f600", "a\r\nb"])
def test_a_hostile_text_stays_inside_its_literal(evil):
    files = Certificates(ca=evil, cert=evil, key=evil)
    for made in (client_code(evil, "tls://h:1", files, {"coiled-jupyter"}), client_code("x", evil, files, None)):
        tree = ast.parse(made.code)
        assert not any(
            alias.name == "os" for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        )
        assert evil in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
