"""What an installer on a node says when it could not fetch something, and when something else was wrong."""

from __future__ import annotations

import pytest

from coiled_jupyter.texts import layer


@pytest.mark.parametrize(
    ("words", "unfetched"),
    [
        ("error: Failed to fetch: http://h/simple/x/ cause: error sending request for url cause: dns error", True),
        ("error: Failed to fetch: `http://h/simple/x/` Caused by: invalid peer certificate: UnknownIssuer", True),
        ("error: Failed to fetch: http://h/x.whl cause: HTTP status client error (403 Forbidden) for url", True),
        ("error: Failed to read `--find-links` directory: /srv/wheels cause: No such file or directory", True),
        ("Because x was not found in the package registry and you require x==1, we can conclude", True),
        ("Because there is no version of x==1.0 and you require x==1.0, we can conclude", True),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('<pip>')'", True),
        ("ERROR: No matching distribution found for x==1.0", True),
        ("error: Failed to download `x==1.0` cause: Hash mismatch for `x==1.0`", False),
        ("error: Failed to install: x-1.0-py3-none-any.whl cause: No space left on device", False),
        ("the installer gave no reason", False),
    ],
)
def test_a_failure_to_fetch_is_told_from_others(words, unfetched):
    assert layer.unfetched(words) is unfetched
