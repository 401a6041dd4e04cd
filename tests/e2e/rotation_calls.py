"""Direct calls of the rotation function."""

import json
from typing import Any

from tests.e2e.site import Site


def invoke(site: Site, event: dict[str, Any]) -> dict[str, Any]:
    """Call the rotation function directly, as someone with lambda:InvokeFunction could."""
    answer = site.stack.cloud.client("lambda").invoke(
        FunctionName=site.stack.function_name("RotateSecretFunction"),
        Payload=json.dumps(event).encode(),
    )
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    return result
