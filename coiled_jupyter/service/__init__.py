"""The orchestrator behind server, command line and magics: it compares and plans; supervisors carry requests out."""
