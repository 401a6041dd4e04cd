"""What a run writes into its ledger on its way, and how its ledger looks where it stopped."""

import json
from typing import Any

from keyturn.run.ledger import STEPS, Failure, Start
from keyturn.run.run import Origin, Run
from tests.conftest import ARN, ASKED, NEW, OLD

AT = "2026-11-24T12:00:00.000Z"
FINGERPRINTS = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")


def rolled(service: str, second: int) -> dict[str, Any]:
    return {
        "service": service,
        "state": "done",
        "says": "2 of 2 new",
        "stalled": False,
        "replicas": 2,
        "alsoRestartedBy": "Reloader" if service == "auth-service" else None,
        "podsBefore": 2,
        "podsAfter": 2,
        "notRestarted": None,
        "looks": 3,
        "pauseSeconds": 5,
        "startedAt": f"2026-11-24T12:00:{second:02}.000Z",
        "seconds": 30.0 + second,
    }


ENTRIES: dict[str, Any] = {
    "begin_rotation": {
        "startedAt": "2026-11-24T11:59:10.000Z",
        "seconds": 0.5,
        "sessions": 41,
        "counted": True,
        "announced": {"topic": "sent"},
    },
    "deliver_key": {
        "startedAt": AT,
        "seconds": 0.2,
        "state": "done",
        "target": "Kubernetes Secret web/session-key",
        "written": True,
        "delivery": "2",
        "fingerprint": FINGERPRINTS[0],
        "previousFingerprint": FINGERPRINTS[1],
    },
    "confirm_delivery": {
        "startedAt": AT,
        "seconds": 0.1,
        "target": "Kubernetes Secret web/session-key",
        "fingerprint": FINGERPRINTS[0],
    },
    "restart_services": [rolled("web-console", 9), rolled("auth-service", 4)],
    "purge_sessions": {
        "startedAt": AT,
        "seconds": 2.0,
        "keysBefore": 51,
        "keysAfter": 14,
        "walks": [],
        "acknowledged": 40,
        "restarts": 0,
        "finished": True,
        "before": 41,
        "deleted": 40,
        "vanished": 0,
        "left": 1,
        "createdSince": 3,
        "createdPerSecond": 1.5,
        "perSecond": 20.0,
        "sessionsToGo": 0,
        "secondsToGo": 0.0,
    },
    "validate_rotation": {
        "startedAt": AT,
        "seconds": 1.0,
        "health": [{"url": "https://console.test/healthz", "status": 200}],
        "login": {"url": "https://console.test/login", "status": 302},
        "logs": {
            "findings": [],
            "lines": {},
            "logs": 4,
            "pods": [
                {"service": service, "pods": 2, "stamped": 2, "read": 2}
                for service in ("web-console", "auth-service")
            ],
            "complete": True,
            "reason": "",
            "says": "",
        },
    },
}
# What every run begins with.
START: Start = {
    "startedAt": "2026-11-24T11:59:10.000Z",
    "services": ["web-console", "auth-service"],
    "pollSeconds": 5,
}
WAITING = {
    "startedAt": AT,
    "seconds": 35.0,
    "state": "waiting",
    "target": "Kubernetes Secret web/session-key by ExternalSecret web/session-key",
    "written": False,
    "says": "waiting for the operator's sync",
    "asked": 2,
    "askedAt": AT,
    "fingerprint": FINGERPRINTS[0],
    "previousFingerprint": FINGERPRINTS[1],
}


def ledger_until(state: str | None) -> Any:
    """The ledger, as JSON, when `state` is entered; None is the end."""
    names = list(STEPS)
    done = names if state is None else names[: names.index(state)]
    written = {STEPS[name]: ENTRIES[STEPS[name]] for name in done}
    return {
        **Run(NEW, ARN, "scheduled", OLD, Origin(at=ASKED)).as_ledger(),
        "execution": f"arn:aws:states:eu-central-1:123456789012:execution:keyturn:rot-{NEW}",
        "start": START,
        "deliver_key": {"state": "planned"},
        "failures": {},
        **written,
    }


def caught(error: str, summary: str) -> Failure:
    """What the state machine catches of a function's error."""
    cause = {"errorMessage": summary, "errorType": error, "stackTrace": ['File "x.py", line 1']}
    return {"Error": error, "Cause": json.dumps(cause)}


def failed_at(state: str, error: str = "RolloutFailed", summary: str = "it stopped") -> Any:
    return {**ledger_until(state), "failures": {STEPS[state]: caught(error, summary)}}
