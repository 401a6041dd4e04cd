"""Lambda's Invoke operation over HTTP, as boto3 and Step Functions call it.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

import json
import uuid
from collections.abc import Mapping

from werkzeug.wrappers import Response

from local.functions import FunctionNotFound, Functions, TooManyRequests
from local.lambda_invocation import Invocation


def invoke(functions: Functions, name: str, headers: Mapping[str, str], body: bytes) -> Response:
    """Answer an Invoke request; `headers` are the request's, with names in lower case."""
    try:
        json.loads(body or b"{}")
    except ValueError:
        message = "Could not parse request body into json"
        return _refusal(400, "InvalidRequestContentException", {"message": message})
    try:
        return _invoke(functions, name, headers, body or b"{}")
    except FunctionNotFound as error:
        return _refusal(404, "ResourceNotFoundException", {"Message": str(error)})
    except TooManyRequests as error:
        reason = {"message": "Rate Exceeded.", "Reason": error.reason}
        return _refusal(429, "TooManyRequestsException", reason)


def _invoke(functions: Functions, name: str, headers: Mapping[str, str], body: bytes) -> Response:
    kind = headers.get("x-amz-invocation-type", "RequestResponse")
    if kind == "Event":
        functions.invoke_async(name, body)
        return Response(status=202, headers=_request_id())
    return _result(functions.invoke(name, body))


def _result(invocation: Invocation) -> Response:
    headers = {
        "X-Amz-Executed-Version": "$LATEST",
        "x-amzn-RequestId": invocation.request_id,
        "Content-Type": "application/json",
    }
    if invocation.function_error:
        headers["X-Amz-Function-Error"] = invocation.function_error
    return Response(invocation.payload, headers=headers)


def _refusal(status: int, code: str, body: Mapping[str, str]) -> Response:
    headers = {"x-amzn-errortype": code, "Content-Type": "application/json", **_request_id()}
    return Response(json.dumps({"Type": "User", **body}), status, headers)


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}
