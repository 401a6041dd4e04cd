"""The rules of tags: how many, of which characters, and which are AWS's own.

Sizes are in botocore's service model. AWS General Reference, "Tag naming limits and requirements":
50 tags that users make on a resource; letters, numbers and spaces in UTF-8 and `_ . : / = + - @`;
no key or value that begins with `aws:` in whatever case. Secrets Manager publishes no message for
these refusals, so the words say the documented cause.
"""

from collections.abc import Iterable, Mapping, Sequence

from local.secrets_manager.errors import invalid_parameter, invalid_request

MOST_TAGS = 50
SIGNS = frozenset("_.:/=+-@")
RESERVED = "aws:"


def merge_tags(tags: Mapping[str, str], added: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Add tags to those that there are; an AwsError refuses them all together."""
    given = {tag.get("Key", ""): tag.get("Value", "") for tag in added}
    if len(given) < len(added):
        raise invalid_parameter("Two tags of the request have the same key.")
    refuse_reserved([*given, *given.values()])
    if not all(_is_allowed(text) for pair in given.items() for text in pair):
        raise invalid_parameter(
            "Tag keys and values can only contain letters, numbers, spaces, and _ . : / = + - @."
        )
    merged = {**tags, **given}
    if len(merged) > MOST_TAGS:
        raise invalid_request(f"A secret can have no more than {MOST_TAGS} tags.")
    return merged


def refuse_reserved(texts: Iterable[str]) -> None:
    """Raise InvalidParameterException for what only AWS may write."""
    if any(text.lower().startswith(RESERVED) for text in texts):
        raise invalid_parameter(f"The prefix {RESERVED} is reserved for AWS.")


def _is_allowed(text: str) -> bool:
    return all(sign.isalnum() or sign.isspace() or sign in SIGNS for sign in text)
