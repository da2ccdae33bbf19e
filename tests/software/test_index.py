"""Options about indexes become variables; nothing else passes, and no message shows a credential."""

from __future__ import annotations

from pathlib import Path

import pytest

from coiled_jupyter.core.errors import Unavailable
from coiled_jupyter.software import index


@pytest.mark.parametrize(
    "options",
    [
        ["--index-url", "https://me:hunter22@host/simple"],
        ["--index-url=https://me:hunter22@host/simple"],
        ["--index-url https://me:hunter22@host/simple"],
        ["-i", "https://me:hunter22@host/simple"],
        ["--default-index", "https://me:hunter22@host/simple"],
    ],
)
def test_each_way_to_write_an_option_means_the_same(options):
    read = index.parse(options)
    assert read.uv == {"UV_DEFAULT_INDEX": "https://me:hunter22@host/simple"}
    assert read.pip == {"PIP_INDEX_URL": "https://me:hunter22@host/simple"}
    assert read.secrets
    assert read.options == ()


def test_all_that_uv_knows_of_indexes():
    read = index.parse(
        [
            *("--index", "own=https://a/simple", "--extra-index-url", "https://b/simple", "--find-links", "/w 1,2"),
            *("-f", "https://c/x,y", "--no-index", "--index-strategy", "unsafe-best-match", "--trusted-host", "b:8080"),
            "--keyring-provider=subprocess",
        ]
    )
    assert read.uv == {
        "UV_INDEX": "own=https://a/simple https://b/simple",
        "UV_FIND_LINKS": "file:///w%201%2C2,https://c/x%2Cy",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "b:8080",
        "UV_KEYRING_PROVIDER": "subprocess",
    }
    assert read.pip == {
        "PIP_EXTRA_INDEX_URL": "https://a/simple https://b/simple",
        "PIP_FIND_LINKS": "file:///w%201%2C2 https://c/x,y",
        "PIP_TRUSTED_HOST": "b:8080",
        "PIP_KEYRING_PROVIDER": "subprocess",
        "PIP_NO_INDEX": "1",
    }
    assert read.options == ("--no-index",)
    assert not read.secrets
    assert index.parse([]) == index.Index()


@pytest.mark.parametrize(
    "options",
    [
        ["--target", "/etc"],
        ["--config-settings=x"],
        ["https://me:hunter22@host/simple"],
        ["--index-url"],
        ["--index-url", "--no-index"],
        ["--index-url", "https://me:hunter22@host/a b"],
        ["--index-url", "https://me:hunter22@host/\nx"],
        ["--index-url", "https://me:hunter22@[host/"],
        ["--no-index=hunter22"],
        ["--index-strategy", "hunter22"],
        ["--index-url", "https://me:hunter22@a", "-i", "https://me:hunter22@b"],
        ["--index-url-of-hunter22\n", "x"],
        [""],
    ],
)
def test_refused_without_showing_a_value(options):
    with pytest.raises(Unavailable) as caught:
        index.parse(options)
    assert "index_options" in caught.value.message
    if "of-hunter22" not in options[0]:
        assert "hunter22" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://me:hunter22@host/simple", "hunter22"),
        ("https://token42@host/simple", "token42"),
        ("https://me:p%40ss%2Fword@host/simple", "p@ss/word"),
        ("https://host/simple?key=hunter22", "hunter22"),
        ("own=https://me:hunter22@host/simple", "hunter22"),
    ],
)
def test_credentials_are_known_as_such_and_not_in_what_a_debugger_prints(url, secret):
    read = index.parse(["--index", url])
    assert read.secrets
    assert any(secret in word for word in read.hidden)
    assert secret not in repr(read)


def test_a_folder_goes_beside_the_rest():
    read = index.parse(["--find-links", "https://c/x"]).with_links(Path("/wheels"))
    assert read.uv["UV_FIND_LINKS"] == "https://c/x,/wheels"
    assert read.pip["PIP_FIND_LINKS"] == "https://c/x /wheels"


def test_a_node_is_asked_without_any_credentials():
    own, other = "https://me:hunter22@a/simple", "https://b/simple?token=hunter22"
    asked = index.parse(["--index", f"own={own}", "--index", "https://c/simple", "--find-links", other]).question
    assert asked.environ == {
        "UV_INDEX": "own=https://a/simple https://c/simple",
        "UV_FIND_LINKS": "https://b/simple",
        "PIP_EXTRA_INDEX_URL": "https://a/simple https://c/simple",
        "PIP_FIND_LINKS": "https://b/simple",
    }
    assert asked.private
    assert asked.public == {"UV_INDEX": "https://c/simple", "PIP_EXTRA_INDEX_URL": "https://c/simple"}
    # Where the only index has a password, there is no other to ask.
    assert index.parse(["--index-url", own]).question.public is None
    assert index.parse(["--no-index", "--find-links", other]).question.public is None
    plain = index.parse(["--index-url", "https://c/simple"]).question
    assert (plain.private, plain.public) == (False, plain.environ)
