from __future__ import annotations

from bridge.matrix.crypto.devices import Identity
from bridge.matrix.crypto.wire import is_signed

USER = "@bot:here"


def test_the_master_key_signs_the_others() -> None:
    identity = Identity.draw()
    content = identity.upload(USER, {})
    master = identity.public_master
    for name, usage in (("self_signing_key", "self_signing"), ("user_signing_key", "user_signing")):
        key = content[name]
        assert isinstance(key, dict)
        assert key["usage"] == [usage]
        assert is_signed(key, USER, f"ed25519:{master}", master)
    assert content["master_key"] == {
        "user_id": USER,
        "usage": ["master"],
        "keys": {f"ed25519:{master}": master},
    }


def test_devices_are_signed_by_the_self_signing_key() -> None:
    identity = Identity.draw()
    signer = identity.public_self_signing
    assert is_signed(identity.sign_device(USER, {"a": 1}), USER, f"ed25519:{signer}", signer)


def test_identities_differ_and_show_no_key() -> None:
    assert Identity.draw() != Identity.draw()
    assert repr(Identity.draw()) == "Identity()"
