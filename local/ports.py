"""Free ports of the loopback interface, for servers that must be told where to listen."""

import socket
import sys


def hold_port() -> tuple[socket.socket, int]:
    """Find a free port, and hold it where the system lets a server bind it all the same.

    On Linux a bound socket that does not listen keeps others away from the port, but not a server
    that sets SO_REUSEADDR as servers do. Elsewhere the port is only looked up. The caller closes
    the socket when the port is no longer wanted.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    if sys.platform != "linux":
        holder.close()
    return holder, port
