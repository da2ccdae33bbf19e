"""The process per cluster, and the client that talks to it."""
