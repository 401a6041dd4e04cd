"""Keyturn: rotates the key that encrypts user sessions and finishes the job.

Nouns decide (`secret`, `delivery`, `workload`, `rollout`, `sessions`, `validation`, `record` and
more), `adapters` do, `wiring` joins them. Imports flow one way: wiring > adapters > nouns > key >
settings, telemetry > run > errors. A noun knows no vendor; it declares the `Protocol` it needs.
"""
