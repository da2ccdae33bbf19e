"""What a bug report may not tell, and that the rest of it stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coiled_jupyter.core.redact import HIDDEN, everything, text

SECRET = "hush-hush-1234"


@pytest.mark.parametrize(
    "line",
    [
        f"https://user:{SECRET}@index.example/simple",
        f"Looking at https://{SECRET}@index.example/",
        f"GET /lab?token={SECRET}&x=1",
        f'"token": "{SECRET}"',
        f"JUPYTER_TOKEN={SECRET}",
        f"AWS_SECRET_ACCESS_KEY = {SECRET}",
        f"password: '{SECRET} with blanks'",
        f"UV_INDEX_MINE_PASSWORD={SECRET}",
        f"api_key='{SECRET}'",
        f"Authorization: token {SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"curl -H 'Cookie: session={SECRET}'",
        f"sent Bearer {SECRET}",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_go(line):
    made = text(f"before {line}")
    assert SECRET not in made
    assert HIDDEN in made
    assert made.startswith("before ")


@pytest.mark.parametrize(
    "line",
    [
        "numpy 2.4.6 differs",
        "tcp://10.0.0.7:8786",
        "https://pypi.org/simple/numpy/",
        "sha256:6da83a088f8ef93b2d483a8232a4dbf4d69d3d8496b568a03c56becac43e1808",
        "tokenize 1.0 and secretstorage 3.3 are installed",
        "2026-11-25 04:34:07,788 - distributed.scheduler - INFO - Scheduler at: tls://127.0.0.1:44991",
    ],
)
def test_what_helps_stays(line):
    assert text(line) == line


def test_homes_become_a_tilde():
    assert text("/home/ann/x and /home/anna/y", ["/home/ann"]) == "~/x and /home/anna/y"
    assert text("/usr/lib", ["/"]) == "/usr/lib"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_twice_is_once(value):
    once = everything(value)
    assert everything(once) == once


@given(st.text(max_size=200))
def test_any_text_is_survived_quickly(value):
    assert isinstance(text(value * 20), str)
