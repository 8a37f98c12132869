"""What can be configured: the sections, their fields and the defaults (contract section 9)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from udc.config.fields import (
    Count,
    Directory,
    Flag,
    Grace,
    Id,
    JsonText,
    KeyFile,
    LogLevel,
    NetworkList,
    OrchestratorStyle,
    OriginList,
    Permissions,
    Port,
    PrivatePem,
    PublicPem,
    Rate,
    RegistryStyle,
    Seconds,
    SecretText,
    Text,
    TextList,
    TokenList,
    Url,
    Wanted,
    WholeSeconds,
)

_MEBIBYTE = 1024 * 1024


class Section(BaseModel):
    """A frozen group of settings. Unknown names are refused: the loader has sorted them out before."""

    # hide_input_in_errors: pydantic would print a refused value, and it may be a secret.
    # defer_build, and factories below: building the validators takes longer than all other imports of ours.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )


class DropletSection(Section):
    """Who this droplet is."""

    id: Id | None = None
    name: Text = ""
    steward: Text = ""
    version: Text = "0.1.0"
    url: Url | None = None
    secret: SecretText | None = None
    secret_file: KeyFile | None = None


class RegistrySection(Section):
    """The Registry; `heartbeat_interval` (seconds) counts only where the Registry names none.

    `allow_anonymous` and `lease_seconds` are for the Registry itself; unset = only on loopback, and by the mesh's size.
    """

    id: Id = 1
    url: Url | None = None
    style: RegistryStyle = "contract"
    key: SecretText | None = None
    key_file: KeyFile | None = None
    auto_register: Flag = True
    heartbeat_interval: Seconds = 10.0
    allow_anonymous: Flag | None = None
    lease_seconds: Seconds | None = None


class OrchestratorSection(Section):
    """The Orchestrator, and how often (seconds) it is told how this droplet does.

    One of style `v2` gives tasks to who asks for them, every `poll_interval` seconds; `without_audience` sends it
    tokens that carry no `aud`.
    """

    id: Id = 10
    url: Url | None = None
    style: OrchestratorStyle = "contract"
    poll_interval: Seconds = 2.0
    without_audience: Flag = False
    report_state: Flag = True
    report_interval: Seconds = 60.0


class DashboardSection(Section):
    """The Dashboard."""

    id: Id = 2
    url: Url | None = None


class OperatorSection(Section):
    """Who the `udc` commands speak as."""

    id: Id = 999


class PeerConfig(Section):
    """A droplet that is known without a Registry."""

    # A list of peers may be shared with droplets that know more keys than we do.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    id: Id | None = None
    name: Text = ""
    endpoint: Url
    ours: Flag = False
    wants_signature: Flag = False
    without_audience: Flag = False

    @model_validator(mode="after")
    def _can_be_named(self) -> PeerConfig:
        if self.id is None and not self.name:
            raise ValueError("neither id nor name")
        return self


class SecuritySection(Section):
    """Whom this droplet believes, and how it proves who it is."""

    jwt_issuer: Text = "registry.fullpotential.ai"
    jwt_audience: Text = "fullpotential.droplets"
    require_auth: Flag = True
    own_audience_only: Flag = False
    allow_missing_audience: Flag = False
    droplet_id_from_sub: Flag = False
    public_key: PublicPem | None = None
    public_key_file: KeyFile | None = None
    jwks_url: Url | None = None
    token: SecretText | None = None
    token_file: KeyFile | None = None
    signing_key: PrivatePem | None = None
    signing_key_file: KeyFile | None = None
    signing_key_id: Text | None = None
    insecure_hosts: TextList = ()
    foreign_permissions: Permissions = ("read", "write")
    public_metrics: Flag = False
    public_openapi: Flag = False
    emergency_stop: Flag = False
    failed_auth_limit: Count = 100
    failed_auth_window_seconds: Seconds = 60.0
    hsts_seconds: WholeSeconds = 31_536_000


class LimitsSection(Section):
    """How much at once, and how long."""

    max_body_bytes: Count = _MEBIBYTE
    body_timeout_seconds: Seconds = 30.0
    in_flight: Count = 1000
    handler_timeout_seconds: Seconds = 30.0
    call_timeout_seconds: Seconds = 10.0
    grace_seconds: Grace = 25.0
    sync_threads: Count = 40
    dedup_window_seconds: Seconds = 600.0
    dedup_entries: Count = 10_000
    dedup_bytes: Count = 16 * _MEBIBYTE


class RateSection(Section):
    """How often may be asked; unset = as often as one likes. Without a burst, one second's worth may come at once."""

    caller_per_second: Rate | None = None
    caller_burst: Count | None = None
    address_per_second: Rate | None = None
    address_burst: Count | None = None


class CorsSection(Section):
    """Which web pages of other origins may use the droplet; no methods = those that a path takes."""

    origins: OriginList = ()
    methods: TokenList = ()
    headers: TokenList = ("authorization", "content-type")
    expose_headers: TokenList = ("retry-after", "www-authenticate")
    credentials: Flag = False
    max_age_seconds: WholeSeconds = 600


class ServerSection(Section):
    """Where the droplet listens when it runs its own server, and whose word about the caller it takes."""

    host: Text = "127.0.0.1"
    port: Port = 8000
    trusted_proxies: NetworkList = ()


class BuildSection(Section):
    """What `/version` and `/capabilities` tell about the build."""

    build_date: Text | None = None
    commit_hash: Text | None = None
    deployed_by: Text | None = None


class DropletConfig(Section):
    """Everything a droplet can be told from outside. Frozen; made by `load`, or by hand in tests.

    Attributes:
        peers: droplets known without a Registry.
        environment: a label ("production"), shown by `/version`.
        data: the data directory (contract section 6).
        config_dir: the only directory `/reload-config` reads from.
    """

    droplet: DropletSection = Field(default_factory=DropletSection)
    registry: RegistrySection = Field(default_factory=RegistrySection)
    orchestrator: OrchestratorSection = Field(default_factory=OrchestratorSection)
    dashboard: DashboardSection = Field(default_factory=DashboardSection)
    operator: OperatorSection = Field(default_factory=OperatorSection)
    security: SecuritySection = Field(default_factory=SecuritySection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    rate: RateSection = Field(default_factory=RateSection)
    cors: CorsSection = Field(default_factory=CorsSection)
    server: ServerSection = Field(default_factory=ServerSection)
    build: BuildSection = Field(default_factory=BuildSection)
    peers: Annotated[
        tuple[PeerConfig, ...],
        JsonText,
        Wanted('a JSON list of objects like {"id": 15, "name": "Billing", "endpoint": "http://127.0.0.1:8015"}'),
    ] = Field(default=())
    environment: Text = "development"
    log_level: LogLevel = "INFO"
    data: Directory = Path(".udc")
    config_dir: Directory = Path()
