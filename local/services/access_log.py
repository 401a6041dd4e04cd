"""A web server's access log on the standard output, in the combined log format.

It holds what visitors send, as real ones do: the request line and the User-Agent, with quotes and
control characters escaped as nginx escapes them, so that a visitor cannot begin a line of the log.
Source: nginx, ngx_http_log_module, `log_format` and its default escaping.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def write(scope: Mapping[str, Any], status: int, size: int) -> None:
    """Write the line of a request that was answered."""
    sys.stdout.write(f"{line(scope, status, size, time.gmtime())}\n")
    sys.stdout.flush()


def line(scope: Mapping[str, Any], status: int, size: int, at: time.struct_time) -> str:
    """The line of a request (ASGI's scope). Pure."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    client = (scope.get("client") or ("-",))[0]
    moment = time.strftime(f"%d/{MONTHS[at.tm_mon - 1]}/%Y:%H:%M:%S +0000", at)
    target = scope["path"]
    if query := scope["query_string"].decode("latin-1"):
        target = f"{target}?{query}"
    request = f"{scope['method']} {target} HTTP/{scope.get('http_version', '1.1')}"
    referrer, agent = (headers.get(name, "-") for name in (b"referer", b"user-agent"))
    quoted = f'"{_escaped(request)}" {status} {size} "{_escaped(referrer)}" "{_escaped(agent)}"'
    return f"{client} - - [{moment}] {quoted}"


def _escaped(text: str) -> str:
    return "".join(
        f"\\x{ord(sign):02X}" if sign in '"\\' or not " " <= sign <= "~" else sign for sign in text
    )
