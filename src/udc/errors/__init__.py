"""Everything that `udc` raises.

    UdcError
    ├── ContractError             an answer of contract section 4; also what a handler may raise
    │   ├── InvalidRequest        400 INVALID_REQUEST
    │   ├── HopLimit              400 HOP_LIMIT
    │   ├── Unauthorized          401 UNAUTHORIZED
    │   ├── Forbidden             403 FORBIDDEN
    │   ├── NotFound              404 NOT_FOUND
    │   ├── NoHandler             404 NO_HANDLER
    │   ├── MethodNotAllowed      405 METHOD_NOT_ALLOWED
    │   ├── DeadlineExceeded      408 DEADLINE_EXCEEDED
    │   ├── Conflict              409 CONFLICT
    │   ├── PayloadTooLarge       413 PAYLOAD_TOO_LARGE
    │   ├── UnsupportedMediaType  415 UNSUPPORTED_MEDIA_TYPE
    │   ├── RateLimited           429 RATE_LIMITED
    │   ├── InternalError         500 INTERNAL_ERROR
    │   ├── NotReady              503 NOT_READY
    │   ├── Draining              503 DRAINING
    │   ├── Overloaded            503 OVERLOADED
    │   ├── KeysUnavailable       503 KEYS_UNAVAILABLE
    │   ├── DependencyUnavailable 503 DEPENDENCY_UNAVAILABLE
    │   ├── Timeout               504 TIMEOUT
    │   └── BusinessError         a handler's own code, status and details
    ├── DeliveryError             an outgoing message that did not succeed
    │   ├── PeerError             the peer answered with an error
    │   ├── PeerUnreachable       nothing reached the peer: safe to send again
    │   ├── ConnectionLost        it may have reached the peer
    │   ├── CallTimeout           the call's deadline passed first
    │   ├── UnknownPeer           no peer of that id or name
    │   └── InvalidReply          the peer's answer is not what `returns=` asked for
    ├── RegistryRefused           the Registry says no to us
    │   ├── UnknownInstance       it does not know us (any more): register again
    │   └── InstanceRetired       a newer instance has taken our place
    ├── TokenError                no token to be had for an audience
    ├── ConfigError               every problem of a configuration at once
    ├── DefinitionError           a droplet class or handler that cannot work
    └── LifecycleError            an illegal step between phases

The class carries `code`, `http_status`, `retryable` and a default `hint`; `udc.wire` turns errors into
answers and back. Texts of `ContractError`s reach the caller, so they never hold another exception's text.
"""

from udc.errors._contract import (
    BusinessError,
    Conflict,
    ContractError,
    DeadlineExceeded,
    DependencyUnavailable,
    Draining,
    Forbidden,
    HopLimit,
    InternalError,
    InvalidRequest,
    KeysUnavailable,
    MethodNotAllowed,
    NoHandler,
    NotFound,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    RateLimited,
    Timeout,
    Unauthorized,
    UnsupportedMediaType,
)
from udc.errors._delivery import (
    CallTimeout,
    ConnectionLost,
    DeliveryError,
    InstanceRetired,
    InvalidReply,
    PeerError,
    PeerUnreachable,
    RegistryRefused,
    UnknownInstance,
    UnknownPeer,
)
from udc.errors._root import (
    UdcError,
)
from udc.errors._setup import (
    ConfigError,
    DefinitionError,
    LifecycleError,
    TokenError,
)

__all__ = [
    "BusinessError",
    "CallTimeout",
    "ConfigError",
    "Conflict",
    "ConnectionLost",
    "ContractError",
    "DeadlineExceeded",
    "DefinitionError",
    "DeliveryError",
    "DependencyUnavailable",
    "Draining",
    "Forbidden",
    "HopLimit",
    "InstanceRetired",
    "InternalError",
    "InvalidReply",
    "InvalidRequest",
    "KeysUnavailable",
    "LifecycleError",
    "MethodNotAllowed",
    "NoHandler",
    "NotFound",
    "NotReady",
    "Overloaded",
    "PayloadTooLarge",
    "PeerError",
    "PeerUnreachable",
    "RateLimited",
    "RegistryRefused",
    "Timeout",
    "TokenError",
    "UdcError",
    "Unauthorized",
    "UnknownInstance",
    "UnknownPeer",
    "UnsupportedMediaType",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # tracebacks tell where to import it from
