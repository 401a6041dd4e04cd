"""The environment of each function, read once into typed settings."""
