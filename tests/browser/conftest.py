"""How long the page may take in tests that don't ask how quick it is."""

from playwright.sync_api import expect

# Of the machine of CI, which looks at the files of two environments meanwhile.
expect.set_options(timeout=60_000)
