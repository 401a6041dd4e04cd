"""What an HTTP request asks of the Kubernetes API: a verb, a resource, a name, options."""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from local.cluster.errors import bad_request, method_not_allowed, unknown_path
from local.cluster.rbac import Attributes
from local.cluster.resources import RESOURCES, Json, Resource

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[0-9a-z]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[a-z]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[a-z]+))?$"
)
_NAMESPACE_STATUS = re.compile(r"^/api/v1/namespaces/(?P<name>[^/]+)/status$")
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_TRUE = frozenset({"1", "true", "True"})


@dataclass(frozen=True)
class Request:
    """One request, read but not yet judged; who may not ask need not know what is `served`."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    query: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    served: bool = True
    accept: str = ""
    agent: str = ""

    @property
    def metadata_only(self) -> bool:
        """Whether a PartialObjectMetadata shall be answered ("Metadata-only fetches")."""
        return self.accept.replace(" ", "") == METADATA_ONLY

    @property
    def manager(self) -> str:
        """The field manager of a write: the one that is named, or the client's user agent."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0]

    @property
    def qualified_resource(self) -> str:
        """The resource with its subresource: 'pods/log'."""
        plural = self.resource.plural
        return f"{plural}/{self.subresource}" if self.subresource else plural

    @property
    def attributes(self) -> Attributes:
        """What a permission for this request must cover."""
        group = self.resource.group
        return Attributes(self.verb, group, self.qualified_resource, self.namespace, self.name)

    @property
    def dry_run(self) -> bool:
        """Whether nothing shall be stored. Raises `StatusError` 400 for a value but `All`."""
        value = self.query.get("dryRun", "")
        if value not in {"", "All"}:
            raise bad_request(f'dryRun: Unsupported value: "{value}": supported values: "All"')
        return value == "All"

    def flag(self, name: str) -> bool:
        """Return a query parameter that is on or off."""
        return self.query.get(name, "") in _TRUE

    def number(self, name: str) -> int | None:
        """Return a query parameter that is a whole number. Raises `StatusError` 400."""
        text = self.query.get(name, "")
        if text and not text.isdigit():
            raise bad_request(f'invalid value for {name}: "{text}" is not a whole number')
        return int(text) if text else None

    def document(self) -> object:
        """Return the body as JSON. Raises `StatusError` 400."""
        try:
            document: object = json.loads(self.body)
        except ValueError:
            refusal = bad_request("the object provided is unrecognized: it is not JSON")
        else:
            return document
        raise refusal  # outside the handler: the decoder's error holds the body

    def manifest(self) -> Json:
        """Return the body as an object of this resource. Raises `StatusError` 400."""
        manifest = self.document()
        if not isinstance(manifest, dict):
            raise bad_request("the object provided is unrecognized: it is not an object")
        for key, value in (("kind", self.resource.kind), ("apiVersion", self.resource.api_version)):
            if manifest.get(key, value) != value and not self.subresource:
                raise bad_request(f"{key} in the data ({manifest[key]}) is not the URL's ({value})")
        return manifest

    def delete_options(self) -> Json:
        """Return the DeleteOptions of the body, or those of the query. Raises `StatusError` 400."""
        options = self.document() if self.body else {}
        if not isinstance(options, dict):
            raise bad_request("the object provided is unrecognized: it is not an object")
        grace = self.number("gracePeriodSeconds")
        asked = {
            "gracePeriodSeconds": grace,
            "propagationPolicy": self.query.get("propagationPolicy"),
        }
        return {**{key: value for key, value in asked.items() if value is not None}, **options}


def parse(
    method: str,
    target: str,
    content_type: str = "",
    body: bytes = b"",
    accept: str = "",
    agent: str = "",
) -> Request:
    """Read a request line and body. Raises `StatusError` 404 or 405 for what is never served."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    parts = _located(url.path)
    name, subresource = unquote(parts["name"] or ""), parts["subresource"] or ""
    place = (parts["group"] or "", parts["version"] or "", parts["plural"] or "")
    known = RESOURCES.get(place)
    resource = known or Resource(place[2], "", group=place[0], version=place[1])
    served = (
        known is not None
        and (known.namespaced or not parts["namespace"])
        and (not subresource or subresource in known.subresources)
    )
    verb = _verb(method, name, query)
    if served and subresource and verb not in _subresource_verbs(subresource):
        raise method_not_allowed()
    return Request(
        verb=verb,
        resource=resource,
        namespace=unquote(parts["namespace"] or ""),
        name=name,
        subresource=subresource,
        query=query,
        content_type=content_type.partition(";")[0].strip(),
        body=body,
        served=served,
        accept=accept,
        agent=agent,
    )


def _located(path: str) -> dict[str, str | None]:
    if match := _NAMESPACE_STATUS.match(path):
        return {
            "plural": "namespaces",
            "name": match["name"],
            "subresource": "status",
            "namespace": None,
            "group": None,
            "version": "v1",
        }
    if match := _PATH.match(path):
        return match.groupdict()
    raise unknown_path()


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    if method == "GET" and not name:
        return "watch" if query.get("watch") in _TRUE else "list"
    verbs = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    if method == "POST":
        return "create"
    if method not in verbs or not name:
        raise method_not_allowed()
    return verbs[method]


def _subresource_verbs(subresource: str) -> set[str]:
    special = {"log": {"get"}, "binding": {"create"}}
    return special.get(subresource, {"get", "update", "patch"})
