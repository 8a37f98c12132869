"""One frozen model per endpoint body of contract section 2, and `read`, which makes one from bytes."""

from udc.models._fields import Body, read
from udc.models.describing import (
    ActionInfo,
    Capabilities,
    Dependencies,
    DependencyInfo,
    Health,
    Live,
    Ready,
    State,
    VersionInfo,
)
from udc.models.messages import ErrorAnswer, ErrorBody, MessageBody, ReceiptBody
from udc.models.operating import (
    EventEntry,
    EventPage,
    LogEntry,
    LogPage,
    Proof,
    ReloadRequest,
    ReloadResult,
    ShutdownRequest,
    ShutdownResult,
)
from udc.models.working import ChatReply, ChatRequest, SendRequest, SendResult, TaskAccepted, TaskRequest

__all__ = [
    "ActionInfo",
    "Body",
    "Capabilities",
    "ChatReply",
    "ChatRequest",
    "Dependencies",
    "DependencyInfo",
    "ErrorAnswer",
    "ErrorBody",
    "EventEntry",
    "EventPage",
    "Health",
    "Live",
    "LogEntry",
    "LogPage",
    "MessageBody",
    "Proof",
    "Ready",
    "ReceiptBody",
    "ReloadRequest",
    "ReloadResult",
    "SendRequest",
    "SendResult",
    "ShutdownRequest",
    "ShutdownResult",
    "State",
    "TaskAccepted",
    "TaskRequest",
    "VersionInfo",
    "read",
]
