import msgspec
import pytest

from bridge.conversation.inputs import FailureReason
from bridge.link.accounts import Accounts, matching_rule, room_key, shared, visitor_id
from bridge.link.failures import OpenFailure
from bridge.link.settings import AccountRule, LinkSettings
from bridge.webchat.codes import LoginType
from bridge.webchat.http import PasswordLogin, RegisterLogin, VisitorLogin
from tests.unit.link.rig import account


def settings(**changes: object) -> LinkSettings:
    return LinkSettings(base_url="http://crm/webchat", enterprise_id="E1", **changes)  # type: ignore[arg-type]  # the names are the caller's affair


def test_a_room_key_is_short_stable_and_different() -> None:
    assert room_key("!a:example.org") == room_key("!a:example.org")
    assert room_key("!a:example.org") != room_key("!b:example.org")
    assert len(room_key("!a:example.org")) == 16


def test_room_key_with_a_secret() -> None:
    rooms, secrets = ("!a:example.org", "!b:example.org"), (b"", b"one", b"two")
    drawn = {room_key(room, secret) for room in rooms for secret in secrets}
    assert len(drawn) == 6
    assert {len(key) for key in drawn} == {16}
    # What versions before have given out, and rooms from then still have.
    assert room_key("!a:example.org") == "50b1cd92e41df97a"


def test_the_key_that_a_room_has_stands_in_its_names() -> None:
    who = msgspec.structs.replace(account(), key="0123456789abcdef")
    for kind in LoginType:
        made = Accounts(settings(login_type=kind)).credentials(who)
        assert made.login_name == "mx-0123456789abcdef"


def test_85_two_rooms_of_one_user_have_two_login_names() -> None:
    accounts = Accounts(settings())
    names = {accounts.credentials(account(room)).login_name for room in ("a", "b")}
    assert len(names) == 2


def test_register_names_the_room_and_shows_the_person() -> None:
    credentials = Accounts(settings()).credentials(account())
    key = room_key("!a:example.org")
    assert credentials.login == RegisterLogin(f"mx-{key}", "Ada", "", "E1", "")


def test_a_display_name_with_braces_is_only_text() -> None:
    who = account()
    login = Accounts(settings()).credentials(
        type(who)(who.room_id, who.customer, "{room_key.__class__}")
    )
    assert isinstance(login.login, RegisterLogin)
    assert login.login.display_name == "{room_key.__class__}"


def test_visitor_is_a_stable_guid() -> None:
    login = Accounts(settings(login_type=LoginType.VISITOR)).credentials(account()).login
    assert login == VisitorLogin(visitor_id(f"mx-{room_key('!a:example.org')}"), "E1")
    assert len(visitor_id("x")) == 36


def test_password_without_a_list_uses_the_template() -> None:
    made = Accounts(settings(login_type=LoginType.PASSWORD, password="pw")).credentials(account())
    assert made.login == PasswordLogin(f"mx-{room_key('!a:example.org')}", "pw", "E1")


RULES = {
    "*": AccountRule("any-{room_key}", "0"),
    "@*:example.org": AccountRule("org", "1"),
    "@ada:*": AccountRule("ada-anywhere", "2"),
    "@ada:example.org": AccountRule("ada", "3"),
    "!a:example.org": AccountRule("room-a", "4"),
}


def test_the_most_specific_rule_wins() -> None:
    user, room = "@ada:example.org", "!a:example.org"

    def chosen(*left_out: str) -> str:
        rules = {key: rule for key, rule in RULES.items() if key not in left_out}
        rule = matching_rule(rules, room, user)
        assert rule is not None
        return rule.name

    assert chosen() == "room-a"
    assert chosen(room) == "ada"
    assert chosen(room, user) == "org"
    assert chosen(room, user, "@*:example.org") == "ada-anywhere"
    assert chosen(*set(RULES) - {"*"}) == "any-{room_key}"
    assert matching_rule({}, room, user) is None


def test_a_room_without_an_account_is_refused_without_asking() -> None:
    accounts = Accounts(
        settings(login_type=LoginType.PASSWORD, accounts={"!other:x": AccountRule("o", "p")})
    )
    with pytest.raises(OpenFailure) as caught:
        accounts.credentials(account())
    assert caught.value.reason is FailureReason.LOGIN_REFUSED
    assert caught.value.certain


@pytest.mark.parametrize("template", ["{nope}", "{", "{0}", "{room_key.nope}"])
def test_a_template_with_an_unknown_name_is_an_error(template: str) -> None:
    with pytest.raises(ValueError, match="may only name"):
        settings(name=template)


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(
        settings(
            login_type=LoginType.PASSWORD,
            password="secret-1",
            sign_key="secret-2",
            accounts={"*": AccountRule("n", "secret-3")},
        )
    )
    assert "secret" not in shown
    made = Accounts(settings(login_type=LoginType.PASSWORD, password="secret-1"))
    assert "secret" not in repr(made.credentials(account()))


@pytest.mark.parametrize(
    ("pattern", "name", "rooms_per_user", "several"),
    [
        ("@ada:example.org", "ada", 5, True),
        ("@ada:example.org", "ada", 1, False),
        ("@ada:example.org", "ada-{room_key}", 5, False),
        ("@ada:example.org", "ada-{displayname}", 5, True),
        ("@*:example.org", "one", 1, True),
        ("!room:example.org", "one", 5, False),
        ("!*", "one", 1, True),
        ("!*", "{room_id}", 5, False),
    ],
)
def test_accounts_that_several_rooms_could_have(
    pattern: str, name: str, rooms_per_user: int, several: bool
) -> None:
    found = shared({pattern: AccountRule(name)}, rooms_per_user)
    assert found == ([pattern] if several else [])
