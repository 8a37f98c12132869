"""Makes a hosted droplet out of a droplet and its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from udc._clock import loop_clock
from udc._runtime import Runtime
from udc._wiring import membership, nearby, outgoing, reporting, trust, work
from udc._wiring.definition import Definition, Premises
from udc._wiring.facts import make_facts, secrets_of
from udc._wiring.hosted import Hosted
from udc._wiring.incoming import make_surface
from udc._wiring.life import make_plan
from udc._wiring.settings import Settings
from udc._wiring.storage import Storage
from udc._wiring.surroundings import Surroundings
from udc._wiring.telling import Rare, Standing, lacking, tell_of_other_keys
from udc.dispatch.contexts import Contexts
from udc.dispatch.run import Dispatcher, DispatchLimits
from udc.identity.instance_key import InstanceKey
from udc.identity.revocations import Revocations
from udc.identity.verify import TokenVerifier
from udc.instrument import Instrument, MessageHandled, PhaseChanged, PresenceChanged, RegistrationAccepted
from udc.lifecycle import Lifecycle
from udc.rings import EventRing, LogRing
from udc.services.dependencies import DependencyWatch
from udc.services.telemetry import CallRecords
from udc.stats import Stats
from udc.surface.border import Busy
from udc.surface.facts import ProofBook
from udc.surface.working import TraceCancel, Working
from udc.tasks.desk import TaskDesk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udc._http import HttpClient
    from udc._ids import Ambient
    from udc.discovery import Discovery
    from udc.dispatch.table import HandlerTable
    from udc.identity._base import Verifier
    from udc.identity.followed import FollowedKeys
    from udc.identity.tokens import TokenKeeper
    from udc.messenger import Messenger
    from udc.services import Service
    from udc.services.unreachable import UnreachableNotices
    from udc.surface._base import Endpoint
    from udc.surface.border import HttpSurface
    from udc.surface.describe import Describe
    from udc.surface.facts import Facts
    from udc.tasks.reports import Tell


class Composition:
    """One droplet, put together for one life. The parts are made in the order in which they need each other."""

    def __init__(self, definition: Definition, surroundings: Surroundings) -> None:
        self.surroundings: Surroundings = surroundings
        self.ambient: Ambient = surroundings.ambient
        self.clock: Callable[[], float] = loop_clock()
        self.definition: Definition = definition
        self.table: HandlerTable = definition.table
        self.settings: Settings = Settings(
            surroundings,
            explicit=definition.explicit,
            attributes=definition.attributes,
            own_verifier=definition.verifier is not None,
        )
        self.facts: Facts = make_facts(
            definition, self.settings, instance_id=self.ambient.new_id(), started_at=self.ambient.wall()
        )
        self.lifecycle: Lifecycle = Lifecycle()
        self._observers(definition)
        self._identity(definition)
        self._messaging(definition)
        self._dispatching(definition)
        self.settled: Sequence[Endpoint] = definition.settle(self._premises())
        self._work()
        self.membership: membership.Membership = membership.of(self)
        if self.membership.registry is not None:
            self.directory.follow(self.membership.registry)
        self.runtime: Runtime = Runtime(
            make_plan(self),
            lifecycle=self.lifecycle,
            instance_id=self.facts.instance_id,
            instrument=self.instrument,
            ambient=self.ambient,
        )
        self.surface: HttpSurface
        self.describe: Describe
        self.surface, self.describe = make_surface(self)
        self.settings.subscribe(self._follow)

    def _observers(self, definition: Definition) -> None:
        secrets = secrets_of(self.settings)
        self.stats: Stats = Stats(clock=self.clock)
        self.events: EventRing = EventRing(ambient=self.ambient, secrets=secrets)
        self.logs: LogRing = LogRing(instance_id=self.facts.instance_id, secrets=secrets)
        self.instance_key: InstanceKey = InstanceKey.generate()
        self.proofs: ProofBook = ProofBook(facts=self.facts, key=self.instance_key, ambient=self.ambient)
        hooks = (*definition.hooks, *self.surroundings.hooks)
        self.calls: CallRecords = CallRecords()
        consequences = Rare(
            {
                MessageHandled: self._note_command,
                PhaseChanged: lambda _: self.membership.changed(),
                PresenceChanged: self._note_presence,
                RegistrationAccepted: lambda _: self.storage.joined(),
            }
        )
        self.instrument: Instrument = Instrument(
            [
                self.stats,
                self.events,
                self.calls,
                Standing(
                    announced=self.surroundings.listen is not None,
                    lacking=lacking(self.settings) if definition.token_source is None else None,
                ),
                consequences,
                *hooks,
            ]
        )

    def _identity(self, definition: Definition) -> None:
        config = self.settings.config
        self.client: HttpClient = self.surroundings.make_client()
        made: dict[str, Any] = {
            "client": self.client,
            "ambient": self.ambient.branch(),
            "instrument": self.instrument,
        }  # Any: shared arguments
        self.nearby: nearby.Nearby | None = nearby.look_out(self.settings)
        denied = Revocations(wall=self.ambient.wall)
        self.keys: FollowedKeys | None
        verifier, self.keys = trust.make_verifier(
            config, me=self.facts.id, nearby=self.nearby, revocations=denied, **made
        )
        self.verifier: Verifier = definition.verifier or verifier
        if self.verifier is verifier:
            tell_of_other_keys(self.settings, self.nearby)
        # Only our own way of checking looks at the list, so only then is it read.
        self.revocations: Revocations | None = denied if isinstance(self.verifier, TokenVerifier) else None
        self.tokens: TokenKeeper
        self.token_service: Service
        self.tokens, self.token_service = trust.make_tokens(
            config,
            me=self.facts.id,
            source=definition.token_source,
            nearby=self.nearby,
            **made,
        )

    def _premises(self) -> Premises:
        return Premises(
            config=self.settings.config,
            facts=self.facts,
            loopback=self.settings.loopback,
            key=self.instance_key,
            client=self.client,
            directory=self.directory,
            ambient=self.ambient,
            threads=self.surroundings.threads,
        )

    def _messaging(self, definition: Definition) -> None:
        config = self.settings.config
        self.directory: Discovery = outgoing.make_discovery(
            self.settings,
            nearby=self.nearby,
            ambient=self.ambient,
            instrument=self.instrument,
            threads=self.surroundings.threads,
        )
        self.storage: Storage = Storage(
            self.settings,
            self.surroundings,
            droplet_id=self.facts.id,
            member=config.registry.url is not None or (self.nearby is not None and self.nearby.look() is not None),
            discovery=self.directory,
            clock=self.clock,
            instrument=self.instrument,
        )
        if outgoing.calls_somebody(config, self.nearby):
            self.client.prepare()
        self.aside: Ambient = self.ambient.branch()
        self.unreachable: UnreachableNotices = reporting.make_notices(self)
        transports = outgoing.make_transports(self.surroundings, self.client, self.tokens, config)
        self.messenger: Messenger = outgoing.make_messenger(
            self.directory,
            transports,
            me=self.facts.id,
            config=config,
            ambient=self.ambient,
            instrument=self.instrument,
            unreachable=self.unreachable.note,
        )
        errands = outgoing.make_errands(
            self.directory,
            self.client,
            self.tokens,
            config=config,
            ambient=self.ambient,
            unreachable=self.unreachable.note,
        )
        self.contexts: Contexts = Contexts(
            sender=self.messenger,
            ambient=self.ambient,
            metrics=self.stats,
            courier=errands,
            instance_id=self.facts.instance_id,
        )
        self.dependencies: DependencyWatch = DependencyWatch(
            needs=self.facts.needs,
            wants=self.facts.wants,
            resolve=self.directory.resolve,
            probe=outgoing.make_probe(self.client),
        )

    def _dispatching(self, definition: Definition) -> None:
        config = self.settings.config
        self.dispatcher: Dispatcher = Dispatcher(
            self.table,
            contexts=self.contexts,
            middleware=definition.middleware,
            instrument=self.instrument,
            ambient=self.ambient,
            limits=DispatchLimits(
                in_flight=config.limits.in_flight,
                threads=config.limits.sync_threads,
                timeout_seconds=config.limits.handler_timeout_seconds,
            ),
            threads=self.surroundings.threads,
            clock=self.clock,
        )

    def _work(self) -> None:
        config = self.settings.config
        self.busy: Busy = Busy()
        self.teller: Tell = reporting.teller(self)
        self.desk: TaskDesk = TaskDesk(
            work.TaskWorker(self.table, self.dispatcher, me=self.facts.id, ambient=self.ambient),
            tell=self.teller,
            spawn=self.spawn,
            instrument=self.instrument,
            ambient=self.ambient,
            limit=lambda: self.settings.config.limits.in_flight,
            book=self.storage.tasks,
        )
        self.storage.tasks.serve(restore=self.desk.restore, everything=self.desk.remembered)
        self.working: Working = Working(
            self.desk,
            chat=work.run_chat(self.dispatcher) if self.table.chat else None,
            orchestrator=config.orchestrator.id,
            me=self.facts.id,
            proofs=self.proofs,
            ambient=self.ambient,
        )
        self.traces: TraceCancel = TraceCancel(
            cancel=lambda trace_id, by: self.dispatcher.in_flight.cancel_trace(trace_id, by=by),
            pending=self.messenger.pending,
            forward=work.forward_cancel(self.messenger),
        )

    def spawn(self, call: Callable[[], Coroutine[Any, Any, object]], *, name: str) -> None:
        self.runtime.spawn(call, name=name)

    def _note_command(self, event: MessageHandled, /) -> None:
        if event.message_type == "command" and event.error_code is None:
            self.proofs.note(f"command:{event.action}", trace_id=event.trace_id)

    def _note_presence(self, event: PresenceChanged, /) -> None:
        if event.after != "unregistered":
            self.directory.heard(registered=event.after == "registered")

    def _follow(self, config: Any) -> None:  # Any: a DropletConfig; followers take what they need
        self.dispatcher.in_flight.limit = config.limits.in_flight

    def request_stop(self, *, at_once: bool = False) -> None:
        """Ask for the graceful end."""
        self.runtime.request_stop(at_once=at_once)


def compose(definition: Definition, surroundings: Surroundings) -> Hosted:
    """Make a droplet ready for one life.

    Raises:
        ConfigError: every problem of the configuration at once.
        DefinitionError: endpoints that clash, or types that do not resolve.
    """
    return Hosted(Composition(definition, surroundings))
