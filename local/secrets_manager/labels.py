"""The rules of staging labels, as pure functions.

A secret's labels are one map from label to version id, so that a label can only ever be on one
version. Every function takes such a map and returns a new one. Source: the API reference pages
PutSecretValue and UpdateSecretVersionStage.
"""

from collections.abc import Iterable, Mapping

from local.secrets_manager.errors import AwsError, invalid_parameter

CURRENT = "AWSCURRENT"
PENDING = "AWSPENDING"
PREVIOUS = "AWSPREVIOUS"
LABELS_PER_VERSION = 20
QUIET_LABELS = frozenset({PENDING, PREVIOUS})

Labels = Mapping[str, str]


def on_version(labels: Labels, version_id: str) -> list[str]:
    """List the labels of a version, in alphabetical order."""
    return sorted(label for label, holder in labels.items() if holder == version_id)


def attach(labels: Labels, added: Iterable[str], version_id: str) -> dict[str, str]:
    """Put labels on a version, taking each from the version that had it.

    When AWSCURRENT moves, AWSPREVIOUS moves to the version that it left, and AWSPENDING leaves the
    version that it moves to "in the same API call" (user guide, "Lambda rotation functions",
    finishSecret). Raises LimitExceededException for more than 20 labels on a version.
    """
    after = dict(labels)
    for label in added:
        holder = after.get(label)
        after[label] = version_id
        if label == CURRENT and holder is not None and holder != version_id:
            after[PREVIOUS] = holder
            if after.get(PENDING) == version_id:
                del after[PENDING]
    if len(on_version(after, version_id)) > LABELS_PER_VERSION:
        raise AwsError(
            "LimitExceededException",
            f"A version of a secret can have at most {LABELS_PER_VERSION} staging labels.",
        )
    return after


def detach(labels: Labels, label: str) -> dict[str, str]:
    """Take a label off whatever version has it."""
    return {name: holder for name, holder in labels.items() if name != label}


def move(
    labels: Labels, label: str, *, remove_from: str | None, move_to: str | None
) -> dict[str, str]:
    """Do what UpdateSecretVersionStage asks, or raise InvalidParameterException.

    A label that is on another version moves only if `remove_from` names that version: this is the
    compare-and-swap on which finishSecret rests.
    """
    if remove_from is None and move_to is None:
        raise invalid_parameter("You must specify RemoveFromVersionId, MoveToVersionId, or both.")
    holder = labels.get(label)
    if remove_from is not None and remove_from != holder:
        raise invalid_parameter(
            f"The staging label {label} isn't attached to version {remove_from}."
        )
    if move_to is not None:
        if holder not in (None, move_to) and remove_from is None:
            raise invalid_parameter(
                "The parameter RemoveFromVersionId can't be empty. Staging label "
                f"{label} is currently attached to version {holder}, so you must explicitly "
                "reference that version in RemoveFromVersionId."
            )
        return attach(labels, [label], move_to)
    if label == CURRENT:
        raise invalid_parameter(
            f"You can only move staging label {CURRENT} to a different secret version. "
            "It can't be completely removed."
        )
    return detach(labels, label)


def announced(before: Labels, after: Labels) -> list[tuple[str, str]]:
    """List the (label, version id) pairs that moved and that AWS announces on the event bus.

    AWSPENDING and AWSPREVIOUS move without an event; a label that was only removed has no version
    to tell of. Source: user guide, "Secret Label Updated" event.
    """
    return [
        (label, version_id)
        for label, version_id in sorted(after.items())
        if label not in QUIET_LABELS and before.get(label) != version_id
    ]
