"""The store that the configuration names: for the service, and for the commands that write beside it."""

from __future__ import annotations

from pathlib import Path

from steering.config import Config
from steering.store import Bus, Store
from steering.store.local import FILE_NAME, LocalStore


async def open_store(config: Config) -> tuple[Store, Bus | None]:
    """Its engine, and where that joins replicas, what they tell one another over. Raises `StoreError`, `ConfigError`."""
    asked = config.store
    if asked.engine == "local":
        return LocalStore(Path(config.state_dir) / FILE_NAME), None
    from steering.store import nats  # only who has replicas loads it

    store = await nats.open_store(asked.servers, replicas=asked.replicas, credentials=asked.credentials_file)
    return store, store
