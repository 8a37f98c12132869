"""The configuration in use, and its reload while the droplet runs (contract section 2, `/reload-config`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from udc import config as configuration
from udc._wiring.surroundings import Surroundings
from udc.config.names import FIELDS
from udc.errors import ConfigError
from udc.surface.control import inside

RELOADABLE: Final = frozenset(
    {
        "peers",
        "log_level",
        "limits.max_body_bytes",
        "limits.body_timeout_seconds",
        "limits.in_flight",
        "limits.grace_seconds",
    }
    | {name for name in FIELDS if name.startswith(("rate.", "cors."))}
)
"""What may change while a droplet runs; everything else is built in at the start."""


class Settings:
    """Holds the configuration; those who must follow a reload ask for `config` at every use, or `subscribe`.

    Raises:
        ConfigError: every problem at once.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        explicit: Mapping[str, object],
        attributes: Mapping[str, object],
        own_verifier: bool = False,
    ) -> None:
        self._surroundings = surroundings
        self._explicit = {**explicit, **surroundings.explicit}
        self._attributes = dict(attributes)
        self._own_verifier = own_verifier
        self._loaded = self._load(surroundings.config_file)
        self._followers: list[Callable[[configuration.DropletConfig], None]] = []

    @property
    def config(self) -> configuration.DropletConfig:
        """The configuration in use."""
        return self._loaded.config

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the droplet."""
        around = self._surroundings
        listen_host = self.config.server.host if around.listening else None
        return not configuration.beyond_loopback(self.config, listen_host=listen_host, loopback=around.loopback)

    def origin(self, name: str) -> str:
        """Where the value of a setting comes from; "default" when nobody gave one."""
        return self._loaded.origins[name]

    def subscribe(self, follower: Callable[[configuration.DropletConfig], None]) -> None:
        """Call `follower` with every new configuration."""
        self._followers.append(follower)

    def reload(self, path: str | None) -> tuple[str, ...]:
        """Read all sources anew and put into use what changed; returns the names.

        Raises:
            ConfigError: not valid, or would need a restart; nothing has changed.
            PermissionError: the path is outside `config_dir`.
        """
        file = self._surroundings.config_file if path is None else inside(path, self.config.config_dir)
        try:
            loaded = self._load(file)
        except (
            ConfigError
        ) as error:  # the caller is told what is wrong with the file, not where on this machine it lies
            raise ConfigError(
                [line.replace(str(file), file.name) if file else line for line in error.problems]
            ) from None
        before, after = _flat(self.config.model_dump()), _flat(loaded.config.model_dump())
        changed = tuple(sorted(name for name in after if after[name] != before[name] and name != "config_dir"))
        fixed = [name for name in changed if name not in RELOADABLE]
        if fixed:
            raise ConfigError([f"{name}: cannot change while the droplet runs; restart it instead" for name in fixed])
        self._loaded = loaded
        for follower in self._followers:
            follower(loaded.config)
        return changed

    def _load(self, file: Path | None) -> configuration.Loaded:
        around = self._surroundings
        return configuration.load_for_start(
            explicit=self._explicit,
            environ=around.environ,
            file=file,
            attributes=self._attributes,
            identity_aliases=around.identity_aliases,
            listening=around.listening,
            loopback=around.loopback,
            own_verifier=self._own_verifier,
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:  # Any: values of many types
    flat: dict[str, Any] = {}  # Any: likewise
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
