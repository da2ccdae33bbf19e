"""Named software environments: resolved, locked and built with uv."""
