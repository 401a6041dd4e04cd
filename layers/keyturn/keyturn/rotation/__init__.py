"""The rotation: the four steps, the preflight before them, and the rollback."""
