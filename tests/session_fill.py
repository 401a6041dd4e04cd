"""Fills a database with sessions, and with keys of others between them, inside the server.

Names are made from numbers, so that a test knows them and a second fill changes nothing. Scripts
are short: a server that is busy for long is taken for dead by the others of its cluster. There,
names carry a hash tag, and the tags decide which slots are filled.
"""

import binascii
import functools
import itertools
import string
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis

SLOTS = 16384
TAG_LETTERS = 4
PAGE = 10_000  # sessions made by one script: some 40 ms
TTL_SECONDS = 24 * 60 * 60
OTHERS_PREFIX = "cache:"

# ARGV: first number, one behind the last, prefix, bytes of a value, seconds to live (or 0),
# every how many sessions another key is put (or 0), the prefix of those, the tags in a row.
PUT_PAGE = """
local from, to, prefix, seconds, every = ARGV[1], ARGV[2] - 1, ARGV[3], ARGV[5], tonumber(ARGV[6])
local value, others, tags = string.rep('x', ARGV[4]), ARGV[7], ARGV[8]
local call, format, sub, tag = redis.call, string.format, string.sub, ''
local put = function(name)
    if seconds == '0' then call('SET', name, value) else call('SETEX', name, seconds, value) end
end
local name_format = #tags > 0 and '{%s}%08x%018x' or '%s%08x%024x'
for number = from, to do
    if #tags > 0 then
        local place = (number * 4) % #tags
        tag = sub(tags, place + 1, place + 4)
    end
    local name = format(name_format, tag, number * 7919 % 4294967296, number)
    put(prefix .. name)
    if every > 0 and number % every == 0 then put(others .. name) end
end
"""


def fill(
    client: Redis,
    sessions: int,
    *,
    value_bytes: int = 600,
    ttl: bool = True,
    others_every: int = 10,
    prefix: str = "session:",
    tags: Sequence[str] = (),
) -> None:
    """Put `sessions` sessions into the client's database, and another key after each tenth.

    With `tags` (of `tags_of`) they are spread over those slots of a cluster, one after the other.
    """
    put_page: Callable[..., Any] = client.register_script(PUT_PAGE)
    for first in range(0, sessions, PAGE):
        end = min(first + PAGE, sessions)
        seconds = TTL_SECONDS if ttl else 0
        rest = (prefix, value_bytes, seconds, others_every, OTHERS_PREFIX, "".join(tags))
        put_page(args=(first, end, *rest))


def session_name(number: int, *, prefix: str = "session:", tags: Sequence[str] = ()) -> str:
    """Return the name of the session with this number, from 0."""
    tag = f"{{{tags[number % len(tags)]}}}" if tags else ""
    width = 18 if tags else 24
    return f"{prefix}{tag}{number * 7919 % 2**32:08x}{number:0{width}x}"


def tags_of(slots: Sequence[int]) -> list[str]:
    """Return a hash tag for each of these slots."""
    tags = _tags()
    return [tags[slot] for slot in slots]


@functools.cache
def _tags() -> dict[int, str]:
    tags: dict[int, str] = {}
    for letters in itertools.product(string.ascii_lowercase, repeat=TAG_LETTERS):
        tags.setdefault(binascii.crc_hqx("".join(letters).encode(), 0) % SLOTS, "".join(letters))
        if len(tags) == SLOTS:
            break
    return tags
