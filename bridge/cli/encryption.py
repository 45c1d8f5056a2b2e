"""`crypto reset`: when the keys in the database are lost, unreadable, or not the homeserver's."""

from __future__ import annotations

import click

from bridge.cli.ledger import with_store
from bridge.config import Config
from bridge.rooms.store import StorePort

WARNING = (
    "Stop the bridge first. At its next start each of its users gets a new device and a new"
    " cross-signing identity; customers' apps will say that the identity changed. Go on?"
)


def reset(config: Config) -> None:
    """Forget all keys, and let the next start replace what the homeserver has of ours.

    Raises:
        StoreError: the database cannot be opened, or a bridge is at work on it.
    """
    # Imported late, as in `files`.
    from bridge.app.settings import encryption_secret_of
    from bridge.matrix.crypto.devices import reset_rows
    from bridge.matrix.crypto.vault import Sealer, Vault

    async def forget(store: StorePort) -> int:
        dropped = await store.drop_secrets()
        await store.save_secrets(reset_rows(Vault(store, Sealer(encryption_secret_of(config)))))
        return dropped

    dropped = with_store(config, forget, sole=True)
    click.echo(f"Forgot {dropped} sealed rows. The next start of the bridge makes fresh devices.")
