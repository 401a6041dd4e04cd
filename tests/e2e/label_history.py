"""Where the secret's labels have been: what must be so at every moment is judged of each move."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from keyturn import errors
from keyturn.secret import key
from keyturn.secret.staging_labels import AWSCURRENT
from local.secrets_manager.secret import Secret
from tests.e2e.site import Site

EMERGENCY = "emergency-"


@dataclass
class LabelHistory:
    """Every version that was current, in order, and what was wrong with a move of a label."""

    current: list[str] = field(default_factory=list)
    wrongs: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    replaced: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, site: Site, patches: pytest.MonkeyPatch) -> "LabelHistory":
        """Begin to see every move of the secret's labels."""
        history = cls(current=[site.current()])
        store = site.stack.secrets_manager._store
        relabel = store.relabel

        def seen(secret: Secret, after: dict[str, str], now: datetime) -> None:
            if secret.arn == site.stack.secret_arn:
                history._judge(secret, after)
            relabel(secret, after, now)

        patches.setattr(store, "relabel", seen)
        return history

    def _judge(self, secret: Secret, after: Mapping[str, str]) -> None:
        current = after.get(AWSCURRENT, "")
        version = secret.versions.get(current)
        text = (version.value.text if version and version.value else None) or ""
        try:
            self.keys[current] = key.parse_document(text).key.base64
        except errors.KeyInvalid as problem:
            self.wrongs.append(f"{current} became current: {type(problem).__name__}")
        if current == self.current[-1]:
            return
        if current in self.replaced:
            self.wrongs.append(f"{current} became current, which an emergency had replaced")
        if current.startswith(EMERGENCY):
            self.replaced.add(self.current[-1])
        self.current.append(current)
