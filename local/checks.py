"""What is said of a rotation at its end, and whether it is so."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """Something that is said of the rotation, and whether it is so."""

    says: str
    holds: bool
