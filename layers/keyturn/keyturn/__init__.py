"""Keyturn: rotates the key that encrypts user sessions and finishes the job.

Nouns decide (`key`, `secret`, `delivery`, `rollout`, `sessions`, `validation`, `record`),
`adapters` do, `wiring` joins them. Imports flow one way: wiring > adapters and nouns > settings,
telemetry, run > errors. A noun knows no vendor; it declares the `Protocol` that it needs.
"""
