"""Kubernetes: the API, and the objects that a rotation uses."""
