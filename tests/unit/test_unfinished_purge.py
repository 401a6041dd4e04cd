"""A purge that stopped between two of its slices: it is in the record, and it is not done."""

from typing import Any

from keyturn.reporting import messages, record
from keyturn.run.run import Run
from tests.conftest import ARN, NEW, NOON

AT = "2026-11-24T12:00:00.000Z"
LEDGER: Any = {
    **Run(NEW, ARN, "scheduled").as_ledger(),
    "begin_rotation": {"startedAt": AT, "seconds": 0.1, "announced": {}},
    "deliver_key": {"startedAt": AT, "seconds": 0.1},
    "restart_services": [
        {
            "service": "web",
            "replicas": 1,
            "podsBefore": 0,
            "podsAfter": 0,
            "startedAt": AT,
            "seconds": 1.0,
        }
    ],
    "confirm_delivery": {"startedAt": AT, "seconds": 0.1},
    "purge_sessions": {"startedAt": AT, "seconds": 20.0, "finished": False, "deleted": 7},
    "failures": {
        "purge_sessions": {"Error": "SessionStoreUnavailable", "Cause": "Redis does not answer."}
    },
}


def test_the_message_does_not_count_an_unfinished_purge_as_done(run: Run) -> None:
    composed: Any = record.compose(LEDGER, run, NOON)
    message = messages.finished_message(run, composed, "arn:of-the-machine")
    assert composed["failure"]["step"] == "PurgeSessions"
    assert composed["steps"][-1] == {"name": "PurgeSessions", "startedAt": AT, "seconds": 20.0}
    assert "The rotation stopped at PurgeSessions." in message.text
    assert "Done:     BeginRotation, DeliverKey, RestartServices, ConfirmDelivery\n" in message.text
