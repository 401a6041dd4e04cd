"""What a key looks like wherever it is written down, and the search for any piece of it."""

import base64

PIECE, STRIDE = 16, 8  # so many characters of a key in a row, from every eighth one on


def pieces_of(text: str) -> set[str]:
    """Pieces of a key's forms: base64, bytes, hexadecimal, and as Kubernetes holds it."""
    try:
        raw = base64.b64decode(text)
    except ValueError:
        raw = text.encode()
    forms = [
        text,
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(text.encode()).decode(),
        raw.hex(),
        raw.hex().upper(),
        repr(raw)[2:-1],
        repr(list(raw))[1:-1],
    ]
    starts = [(form, at) for form in forms for at in range(0, len(form) - PIECE + 1, STRIDE)]
    return {form[at : at + PIECE] for form, at in starts}


def found(pieces: set[str], text: str) -> set[str]:
    """Where pieces were found, and never the pieces: a test's report must not show a key."""
    return {f"character {text.index(piece)}" for piece in pieces if piece in text}
