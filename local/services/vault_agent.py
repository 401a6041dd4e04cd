"""Starts a service with its key from Vault: `python -m local.services.vault_agent <module>`.

It stands in for the init container of Vault's agent injector, which fetches a secret before the
service starts and never again. There the pod logs in with its service account and the service finds
a file; here, a token of the pod's own read-only policy comes with the pod, and the service finds
the variable. It becomes the service: the same process, which a pod's end then reaches.
"""

import json
import logging
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from local.services.session_key import VARIABLE
from local.services.startup import StartupError, required

SECONDS = 5.0

logger = logging.getLogger(__name__)


def fetch(environ: Mapping[str, str]) -> str:
    """Read the key from the latest version of a KV v2 secret.

    Settings: VAULT_ADDR, VAULT_TOKEN, VAULT_CACERT_BYTES (PEM) and VAULT_SECRET, the secret's path
    in the API. Raises `StartupError`, which never quotes a value.
    """
    url = f"{required(environ, 'VAULT_ADDR')}/v1/{required(environ, 'VAULT_SECRET')}"
    request = urllib.request.Request(  # noqa: S310 - the address is the pod's own setting
        url, headers={"X-Vault-Token": required(environ, "VAULT_TOKEN")}
    )
    context = ssl.create_default_context(cadata=required(environ, "VAULT_CACERT_BYTES"))
    try:
        with urllib.request.urlopen(request, timeout=SECONDS, context=context) as answer:  # noqa: S310 - as above
            data = json.load(answer)["data"]["data"]
    except urllib.error.HTTPError as error:
        raise StartupError(f"Vault answers {error.code} to a read of its secret") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartupError(f"Vault cannot be read: {type(error).__name__}") from None
    if VARIABLE not in (data or {}):
        raise StartupError(f"Vault's secret has no field {VARIABLE}")
    return str(data[VARIABLE])


def main() -> None:
    """Become the service whose module is the first argument."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s vault: %(message)s")
    try:
        key = fetch(os.environ)
    except StartupError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all; no traceback in the log
        sys.exit(1)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("VAULT_")}
    command = [sys.executable, "-m", *sys.argv[1:]]
    os.execve(sys.executable, command, {**kept, VARIABLE: key})  # noqa: S606 - a module of ours, no shell


if __name__ == "__main__":
    main()
