"""The shell round the decisions, written once: consume, decide, commit, publish. It knows no service."""
