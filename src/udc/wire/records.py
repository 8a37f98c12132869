"""Registry records in every shape, and the registration that every Registry understands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from udc._types import DropletId, JsonObject
from udc.errors import InvalidRequest
from udc.messages import Peer
from udc.wire import json_text
from udc.wire.ids import canonical_id, numbered

MARK = "udc_mesh"
"""The key in a record's metadata that says: this droplet runs our library."""

MARK_VERSION = "1.0"
"""What our own registrations carry under `MARK`."""


def read_records(body: bytes) -> list[JsonObject]:
    """The records of a list of droplets: bare, or under `droplets`, `services` or `payload`.

    Entries that are no objects are left out; `capabilities` written as a JSON string are parsed.

    Raises:
        InvalidRequest: not JSON, or no list of droplets in it: that must not pass for an empty mesh.
    """
    found = _list_in(json_text.parse(body))
    if found is None:
        raise InvalidRequest.field("droplets", "is missing: the answer holds no list of droplets")
    return [_opened(record) for record in found if isinstance(record, dict)]


def read_record(body: bytes) -> JsonObject:
    """One record: bare, or under `droplet`, `service` or `payload`.

    Raises:
        InvalidRequest: not a JSON object.
    """
    record: Mapping[str, Any] = json_text.parse_object(body)  # Any: JSON values
    for key in ("payload", "droplet", "service"):
        record = json_text.as_mapping(record.get(key)) or record
    return _opened(record)


def _list_in(value: Any) -> list[Any] | None:  # Any: JSON values
    value = json_text.unfold(value)
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for key in ("droplets", "services", "payload"):
            if key in value:
                return _list_in(value[key])
    return None


def _opened(record: Mapping[str, Any]) -> JsonObject:  # Any: JSON values
    folded = {key: json_text.unfold(record[key]) for key in ("capabilities", "metadata") if key in record}
    return {**record, **folded}


def base_url(record: JsonObject) -> str | None:
    """The base URL of a record, without a trailing slash; `None` when it names none that can be used.

    Asked in order: `endpoint`, `url`, `https://{host}`, `https://{fqdn}`, `http://{ip}:{port}`.
    """
    candidates = (
        record.get("endpoint"),
        record.get("url"),
        _with_scheme("https", record.get("host")),
        _with_scheme("https", record.get("fqdn")),
        _ip_url(record.get("ip"), record.get("port")),
    )
    return next((url for url in map(_usable, candidates) if url is not None), None)


def _with_scheme(scheme: str, host: object) -> str | None:
    return f"{scheme}://{host}" if isinstance(host, str) and host and "/" not in host else None


def _ip_url(ip: object, port: object) -> str | None:
    if not isinstance(ip, str) or not isinstance(port, int | str) or isinstance(port, bool):
        return None
    return f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"


def _usable(url: object) -> str | None:
    """The URL if it is plain http(s) to a host, with nothing in it that a request should not carry."""
    if not isinstance(url, str) or not url.isprintable() or " " in url.strip() or "\\" in url:
        return None
    try:
        parts = urlsplit(url.strip())
        unfit = not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment or parts.port == 0
    except ValueError:  # a port that is no number, brackets that hold no address
        return None
    return None if unfit or parts.scheme not in ("http", "https") else url.strip().rstrip("/")


def to_peer(record: JsonObject) -> Peer:
    """The peer a record tells of; `ours` when its metadata carry our mark.

    Raises:
        InvalidRequest: it has no usable address, or an id that is none; names the field.
    """
    endpoint = base_url(record)
    if endpoint is None:
        raise InvalidRequest.field("endpoint", "is missing: the record names no address that can be used")
    name, instance = record.get("name") or record.get("service"), record.get("instance_id")
    mark = json_text.as_mapping(record.get("metadata")).get(MARK)
    return Peer(
        endpoint=endpoint,
        id=record_id(record),
        name=name if isinstance(name, str) else "",
        ours=isinstance(mark, str) and bool(mark),
        capabilities=capabilities(record),
        instance_id=instance if isinstance(instance, str) else None,
    )


def record_id(record: JsonObject) -> DropletId | None:
    """The droplet id of a record: the first number among its ids and host names, else the first name.

    Raises:
        InvalidRequest: an id that is none; names the field.
    """
    keys = ("droplet_id", "id", "service_id")
    found = [canonical_id(record[key], field=key) for key in keys if record.get(key) is not None]
    # A host such as drop14.example.org tells the number that a name in `id` does not.
    hosts = (numbered(record.get("fqdn")), numbered(record.get("host")))
    number = next((each for each in (*found, *hosts) if isinstance(each, int)), None)
    return number if number is not None else next(iter(found), None)


def capabilities(record: JsonObject) -> tuple[str, ...]:
    """What a record says its droplet can do: a list, a JSON string of one, or words between commas."""
    listed = json_text.unfold(record.get("capabilities"))
    if isinstance(listed, str):
        listed = [word.strip() for word in listed.split(",")]
    return tuple(each for each in listed if isinstance(each, str) and each) if isinstance(listed, list) else ()


def superset_registration(
    *,
    droplet_id: DropletId,
    name: str,
    steward: str,
    endpoint: str,
    version: str,
    capabilities: Iterable[str],
    role: str = "droplet",
    env: str = "production",
    cost_hour: float = 0.0,
    metadata: JsonObject | None = None,
) -> JsonObject:
    """A registration that every style of Registry takes.

    Args:
        endpoint: the public base URL; host names and address are read from it.
        cost_hour: US dollars per hour.
        metadata: further entries; they do not replace our mark.

    Raises:
        ValueError: the endpoint is no http(s) URL with a host.
    """
    url = _usable(endpoint)
    if url is None:
        raise ValueError(f"endpoint {endpoint!r} is no http(s) URL, for example 'https://drop14.example.org'")
    host = urlsplit(url).hostname or ""
    able = list(capabilities)
    return {
        "id": droplet_id,
        "droplet_id": droplet_id,
        "name": name,
        "fqdn": host,
        "host": host,
        "ip": _address(host),
        "role": role,
        "env": env,
        "version": version,
        "cost_hour": cost_hour,
        "steward": steward,
        "endpoint": url,
        "url": url,
        "capabilities": able,
        "status": "active",
        "metadata": {
            "steward": steward,
            **(metadata or {}),
            "version": version,
            "endpoint": url,
            "capabilities": able,
            MARK: MARK_VERSION,
        },
    }


def _address(host: str) -> str:
    """The address where the host is one; else the host itself, which readers build a URL from just as well."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "127.0.0.1" if host == "localhost" else host
