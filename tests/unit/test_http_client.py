"""The HTTP client against servers of the test's own: kept connections, and answers gone wrong."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from local.http_client import HttpClient, HttpError, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def talk(server: Server, requests: int = 1, timeout_seconds: float = 10.0) -> tuple[Reply, int]:
    """Send requests to a server; gives the last answer and how many connections it took."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await server(reader, writer, connections)
        finally:
            writer.close()

    async def run() -> Reply:
        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = "http://{}:{}/page?x=y".format(*listener.sockets[0].getsockname())
        async with listener, HttpClient(timeout_seconds) as http:
            for _ in range(requests):
                reply = await http.get(url)
            return reply

    return asyncio.run(run()), connections


async def read_request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    while not reader.at_eof():
        try:
            await read_request(reader)
        except asyncio.IncompleteReadError:
            return
        writer.write(OK)


async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    await read_request(reader)
    writer.write(OK)


def saying(answer: bytes) -> Server:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await read_request(reader)
        writer.write(answer)

    return server


def test_one_connection_serves_many_requests() -> None:
    reply, connections = talk(answer_all, requests=5)
    assert (reply.status, reply.body, connections) == (200, b"ok", 1)


def test_a_kept_connection_that_was_closed_is_replaced_without_an_error() -> None:
    reply, connections = talk(answer_one, requests=3)
    assert (reply.status, connections) == (200, 3)


def test_a_kept_connection_that_closes_on_the_next_request_is_replaced() -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        await answer_one(reader, writer, 1)
        await read_request(reader)

    async def one_then_all(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        await (server if connection == 1 else answer_all)(reader, writer, connection)

    reply, connections = talk(one_then_all, requests=2)
    assert (reply.status, connections) == (200, 2)


def test_a_connection_that_the_server_will_close_is_not_kept() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert talk(saying(answer), requests=2)[1] == 2


def test_a_body_in_chunks_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    reply, _ = talk(saying(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"))
    assert reply.body == b"abc"


def test_all_headers_are_kept_with_names_in_lower_case() -> None:
    answer = b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    reply, _ = talk(saying(answer))
    assert reply.headers == [("set-cookie", "a=1"), ("set-cookie", "b=2")]
    assert reply.header("location") == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "closed in the middle of the answer"),
        (b"220 mail ready\r\n", "the answer is not HTTP"),
    ],
)
def test_no_whole_answer_is_an_error_with_the_reason(answer: bytes, reason: str) -> None:
    with pytest.raises(HttpError, match=reason):
        talk(saying(answer))


def test_a_server_that_does_not_answer_is_an_error_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, _w: asyncio.StreamWriter, _: int) -> None:
        await reader.read()  # returns when the client has given up

    with pytest.raises(HttpError, match=r"no answer within 0\.05 seconds"):
        talk(silent, timeout_seconds=0.05)
