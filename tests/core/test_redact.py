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


ALPHABET = "abcdefghijkXYZ0123456789@:/%!#$^*()_+-=[]{}|.,?~äßπ漢"
# Anything that a person would choose, and that isn't hidden among the words around it.
secrets = st.text(ALPHABET, min_size=12, max_size=30).map(lambda it: f"Zq{it}9k")
# What stands bare ends where the next begins, or at a blank.
bare = secrets.filter(lambda it: not any(mark in it for mark in "&;"))
names = st.sampled_from(
    ["password", "DB_PASS", "AccountKey", "sig", "api_key", "MY_SECRET_TOKEN", "clientSecret", "passwd", "auth_token", "PGPASSWORD"]
)  # fmt: skip
FORMS = {
    "URL": ("see https://user:{}@index.example/simple for more", bare),
    "URL without a user": ("see https://:{}@index.example/simple", bare),
    "database": ("postgresql+psycopg://me:{}@db.example:5432/x?y=1", bare),
    "long option": ("run tool --{name} {} --verbose", bare),
    "long option with equals": ("run tool --{name}={} --verbose", bare),
    "argv": ("['tool', '--{name}', '{}', '-v']", bare),
    "sshpass": ("sshpass -p {} ssh host", bare),
    "mysql": ("mysql -u root -p{} db", bare),
    "curl": ("curl -u me:{} https://host/", bare),
    "environment": ("{name}={}", bare),
    "shell": ("export {name}='{}'", bare),
    "query": ("GET /x?a=1&{name}={}&b=2", bare.filter(lambda it: "=" not in it)),
    "connection string": ("Endpoint=sb://x/;{name}={};Other=1", bare.filter(lambda it: "=" not in it)),
    "JSON": ('{{"x": 1, "{name}": "{}", "y": 2}}', bare),
    "compact JSON": ('{{"x":1,"{name}":"{}","y":2}}', bare),
    "dictionary": ("{{'x': 1, '{name}': '{}'}}", bare),
    "YAML": ("  {name}: {}", bare),
    "YAML of several words": ("  {name}: correct {} battery", bare),
    "YAML block": ("a: 1\n{name}: |\n  first\n  {}\n  last\nb: 2", bare),
    "TOML": ('{name} = "{}"', bare),
    "TOML of several lines": ('{name} = """\nfirst\n{}\nlast"""', bare),
    "INI": ("{name} = correct {} battery", bare),
    "quoted lines": ('run x {name}="first\n{}\nlast"', bare),
    "header": ("Authorization: Digest {}", bare),
    "other header": ("> X-Api-Key: {}", bare),
    "cookie": ("Set-Cookie: sid={}; Path=/", bare),
    "PEM": ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n{}\nxyz\n-----END OPENSSH PRIVATE KEY-----", bare),
}


@given(st.sampled_from(sorted(FORMS)), st.data(), names)
def test_a_planted_secret_never_survives(form, data, name):
    template, made = FORMS[form]
    secret = data.draw(made)
    line = template.format(secret, name=name)
    for around in ("{}", "before\n{}\nafter 1.2.3", "2026-11-25 - distributed - INFO - {}"):
        if "{" in around and form in ("INI", "YAML of several words") and around.startswith("2026"):
            # In the middle of a line a value ends with its word.
            continue
        shown = text(around.format(line))
        assert secret not in shown
        assert secret[2:-2] not in shown
        assert HIDDEN in shown


letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
KNOWN = {
    "GitHub": ("ghp_", letters, 36),
    "GitHub, fine-grained": ("github_pat_", letters + "_", 82),
    "GitLab": ("glpat-", letters + "-_", 20),
    "AWS": ("AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
    "Slack": ("xoxb-", "0123456789", 24),
    "Slack hook": ("https://hooks.slack.com/services/T0AAAAAA/B0AAAAAA/", letters, 24),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.", letters + "-_", 43),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc", letters + "-_", 80),
    "npm": ("npm_", letters, 36),
    "Anaconda": ("https://conda.anaconda.org/t/xy-", "0123456789abcdef-", 36),
    "Hugging Face": ("hf_", letters, 34),
    "Google API": ("AIza", letters + "-_", 35),
    "Google OAuth": ("ya29.", letters + "-_", 60),
    "Azure": ("abc8Q~", letters + "-_~.", 34),
    "Stripe": ("sk_live_", letters, 24),
    "Docker": ("dckr_pat_", letters + "-_", 27),
    "Databricks": ("dapi", "0123456789abcdef", 32),
}


@given(st.sampled_from(sorted(KNOWN)), st.data())
def test_a_token_of_a_known_form_never_survives(kind, data):
    prefix, alphabet, length = KNOWN[kind]
    secret = data.draw(st.text(alphabet, min_size=length, max_size=length))
    for around in ("{}", "using {}/label to log in", '["{}/", 1]', "x={}/"):
        assert secret not in text(around.format(prefix + secret))


versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){1,3}(rc[0-9]|\.post[0-9]|\+local)?", fullmatch=True)
ordinary = st.one_of(
    st.tuples(st.sampled_from(["numpy", "tokenizers", "passlib", "secretstorage", "compass", "auth0-python"]), versions).map("==".join),
    st.uuids().map(lambda it: f"kernel {it} runs"),
    st.from_regex(r"sha256[:=][0-9a-f]{64}", fullmatch=True),
    st.lists(st.from_regex(r"[a-z][a-z0-9_.-]{0,12}", fullmatch=True), min_size=1, max_size=5).map(lambda it: "/opt/" + "/".join(it)),
    st.from_regex(r"t(cp|ls)://10\.[0-9]{1,3}\.0\.7:[0-9]{4}", fullmatch=True),
    versions.map(lambda it: f"Python {it} on linux-x86_64, distributed {it} differs"),
    versions.map(lambda it: f"git+https://github.com/org/repo@v{it}"),
)  # fmt: skip


@given(st.lists(ordinary, min_size=1, max_size=5).map("\n".join))
def test_ordinary_text_survives(line):
    assert text(line) == line


def test_a_value_is_hidden_by_its_key():
    made = everything({"db": {"password": SECRET, "user": "ann"}, "tokenizers": "0.15", "api_key": SECRET, "tokens": 3})
    assert made == {"db": {"password": HIDDEN, "user": "ann"}, "tokenizers": "0.15", "api_key": HIDDEN, "tokens": 3}


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
