"""Between two rotations: the health of the key, drift, and what is done about issues."""
