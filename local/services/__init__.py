"""The two services whose sessions the key protects, and the OAuth2 provider they log in with.

They behave as the runbook describes the real ones, errors included, and know nothing of Keyturn:
each is started as `python -m local.services.<name>` and is configured by its environment alone.
"""
