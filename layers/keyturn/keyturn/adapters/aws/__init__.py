"""AWS: one module for each service."""
