"""What the Kubernetes API answers when it refuses: a `Status` object with a code and a reason.

The wording is Kubernetes' own (apimachinery, pkg/api/errors), because people and programs match it.
"""

from collections.abc import Iterable

from local.cluster.resources import Json, Resource


class StatusError(Exception):
    """A refused request: HTTP code, machine-readable reason, message, details."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> Json:
        """Return the `Status` object that goes over the wire."""
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        return status if self.details is None else {**status, "details": self.details}

    @classmethod
    def of(cls, code: int, body: Json) -> "StatusError":
        """Return the error that a `Status` object from the wire stands for."""
        message = str(body.get("message", f"the API server answered {code}"))
        return cls(code, str(body.get("reason", "")), message, body.get("details"))


def success(resource: Resource, name: str, uid: str) -> Json:
    """Return the `Status` object of a request that was carried out."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": name, "kind": resource.plural, "uid": uid},
    }


def _about(resource: Resource, name: str) -> Json:
    details = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in details.items() if value}


def unauthorized() -> StatusError:
    """401: nobody that the cluster knows."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """403: known, but not permitted."""
    subject = f'{resource.qualified_plural} "{name}"' if name else resource.qualified_plural
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", _about(resource, name))


def not_found(resource: Resource, name: str) -> StatusError:
    """404: no such object."""
    message = f'{resource.qualified_plural} "{name}" not found'
    return StatusError(404, "NotFound", message, _about(resource, name))


def unknown_path() -> StatusError:
    """404: no such resource."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, {})


def method_not_allowed() -> StatusError:
    """405: the resource is there, the verb is not."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: the name is taken."""
    message = f'{resource.qualified_plural} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _about(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> StatusError:
    """409: a precondition does not hold; by default the resourceVersion's."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified_plural} "{name}": {why}'
    return StatusError(409, "Conflict", message, _about(resource, name))


def expired(oldest: int, asked: int) -> StatusError:
    """410: a watch from a version whose history is gone; list again."""
    return StatusError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def unsupported_media_type(accepted: Iterable[str]) -> StatusError:
    """415: a patch of a kind that is not served."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return StatusError(415, "UnsupportedMediaType", message, {})


def bad_request(message: str) -> StatusError:
    """400: the request cannot be read."""
    return StatusError(400, "BadRequest", message)


def invalid(resource: Resource, name: str, field: str, why: str) -> StatusError:
    """422: the object breaks a rule of its kind. `why` begins with the class of the error."""
    reasons = {
        "Required value": "FieldValueRequired",
        "Forbidden": "FieldValueForbidden",
        "Unsupported value": "FieldValueNotSupported",
    }
    reason = reasons.get(why.partition(":")[0], "FieldValueInvalid")
    details: Json = {"name": name, "group": resource.group, "kind": resource.kind}
    details["causes"] = [{"reason": reason, "message": why, "field": field}]
    message = f'{resource.qualified_kind} "{name}" is invalid: {field}: {why}'
    return StatusError(
        422, "Invalid", message, {key: value for key, value in details.items() if value}
    )


def unprocessable(message: str) -> StatusError:
    """422: a patch that cannot be carried out on the object as it is."""
    return StatusError(422, "Invalid", message, {})


def undecodable(resource: Resource, problem: str, *, patched: bool) -> StatusError:
    """422 for a patch, 400 otherwise: a value is not of its field's type.

    The real server quotes the whole object; this one does not.
    """
    if patched:
        return unprocessable(f'"" is invalid: patch: Invalid value: {problem}')
    return bad_request(f'{resource.kind} in version "v1" cannot be handled: {problem}')
