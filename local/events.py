"""EventBridge on the local stack: moto keeps the rules, we match events and deliver them.

moto delivers to no function, state machine or topic, and takes a filter that it does not know for
one that matches. What a target receives follows
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html.

EventBridge takes no event from `aws.*` out of a customer's hands; here it does, because somebody
has to play GuardDuty's part.
"""

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from local import dead_letters, event_patterns
from local.secrets_manager.errors import AwsError

Event = Mapping[str, Any]
Deliver = Callable[[str, str], None]
Bury = Callable[[str, str, Mapping[str, str | int]], None]
DELIVERABLE = ("lambda", "states", "sns")
_MAX_ENTRIES = 10
_VARIABLE = re.compile(r"<([A-Za-z0-9_.-]+)>")
_QUOTED_OR_VARIABLE = re.compile(r'"(?:[^"\\]|\\.)*"|<[A-Za-z0-9_.-]+>')
log = logging.getLogger(__name__)


class EventBus:
    """The buses of one account and region.

    `deliver` gets a target's ARN and its input; `bury` the ARN of a dead-letter queue, the event
    that a target did not take, and the reason.
    """

    def __init__(self, account: str, region: str, deliver: Deliver, bury: Bury) -> None:
        self._account = account
        self._region = region
        self._deliver = deliver
        self._bury = bury

    def put_events(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take `PutEvents`: deliver each sound entry to every rule that it matches.

        A target that fails does not fail the call, as in EventBridge; it is logged. Raises
        AwsError for a request of more than ten entries.
        """
        if len(request["Entries"]) > _MAX_ENTRIES:
            raise AwsError("ValidationException", f"Entries: at most {_MAX_ENTRIES} are allowed.")
        results = [self._put(entry) for entry in request["Entries"]]
        failed = sum("ErrorCode" in result for result in results)
        return {"FailedEntryCount": failed, "Entries": results}

    def _put(self, entry: Mapping[str, Any]) -> dict[str, str]:
        if refusal := refusal_of(entry):
            return refusal
        event = envelope(entry, self._account, self._region, datetime.now(UTC))
        self.send(event, entry.get("EventBusName", "default").rpartition("/")[2])
        return {"EventId": event["id"]}

    def send(self, event: Event, bus: str = "default") -> None:
        """Deliver a whole event to every rule of a bus that it matches; never raises."""
        for rule in self._rules(bus):
            pattern = rule.event_pattern.get_pattern()
            if pattern and event_patterns.matches(pattern, event):
                self._deliver_to(rule, event)

    def come_due(self, rule_name: str, at: datetime) -> None:
        """Deliver what a rule with a schedule sends at a moment; never raises.

        No schedule fires by itself here: whoever wants one to says when. One that is disabled
        sends nothing.
        """
        for rule in self._rules("default"):
            if rule.name == rule_name and rule.scheduled_expression:
                self._deliver_to(rule, scheduled_event(rule.arn, self._account, self._region, at))

    def _deliver_to(self, rule: Any, event: Event) -> None:
        for target in rule.targets:
            try:
                self._deliver(target["Arn"], target_input(target, event))
            except Exception as error:
                log.exception("%s was not delivered to %s", event["detail-type"], target["Arn"])
                if queue := target.get("DeadLetterConfig", {}).get("Arn"):
                    reason = dead_letters.of_rule(rule.arn, target["Arn"], error)
                    self._bury(queue, json.dumps(event), reason)

    def _rules(self, bus: str) -> Iterator[Any]:
        """The rules of a bus that are enabled, as moto keeps them."""
        from moto.events.models import events_backends  # noqa: PLC0415  moto is slow to import

        buses = events_backends[self._account][self._region].event_buses
        for rule in buses[bus].rules.values() if bus in buses else ():
            if rule.state == "ENABLED":
                yield rule


def refusal_of(entry: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the result of an unsound entry, or None for a sound one."""
    for name in ("Source", "DetailType", "Detail"):
        if not entry.get(name):
            message = f"Parameter {name} is not valid. Reason: {name} is a required argument."
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
    try:
        sound = isinstance(json.loads(entry["Detail"]), dict)
    except ValueError:
        sound = False
    if sound:
        return None
    return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}


def envelope(entry: Mapping[str, Any], account: str, region: str, now: datetime) -> Event:
    """Put an entry into the envelope in which rules and targets see it."""
    moment = datetime.fromtimestamp(entry["Time"], UTC) if "Time" in entry else now
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": account,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": entry.get("Resources", []),
        "detail": json.loads(entry["Detail"]),
    }


def scheduled_event(rule_arn: str, account: str, region: str, at: datetime) -> Event:
    """What EventBridge sends to the targets of a rule with a schedule."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": account,
        "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "resources": [rule_arn],
        "detail": {},
    }


def target_input(target: Mapping[str, Any], event: Event) -> str:
    """Return the text a target receives: the event, or what an input transformer makes of it."""
    if unserved := target.keys() & {"Input", "InputPath"}:
        raise ValueError(f"{unserved.pop()} of a target is not emulated")
    if "InputTransformer" not in target:
        return json.dumps(event)
    transformer = target["InputTransformer"]
    paths = transformer.get("InputPathsMap", {})
    return fill(
        transformer["InputTemplate"], {name: _find(path, event) for name, path in paths.items()}
    )


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put values into an input template.

    Inside a quoted string a variable becomes text, outside of one a JSON value; a variable without
    a value is empty text or null.
    """

    def text(name: str) -> str:
        value = values.get(name)
        plain = value if isinstance(value, str) else json.dumps(value)
        return "" if value is None else json.dumps(plain)[1:-1]

    def replace(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return _VARIABLE.sub(lambda variable: text(variable[1]), match[0])
        return json.dumps(values.get(match[0][1:-1]))

    return _QUOTED_OR_VARIABLE.sub(replace, template)


def _find(path: str, event: Event) -> Any:
    from jsonpath_ng.ext.parser import parse  # noqa: PLC0415  slow to import

    found: Sequence[Any] = parse(path).find(event)
    return found[0].value if found else None
