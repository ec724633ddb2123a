"""User and group names, by container and number."""

from __future__ import annotations

from sftools.engine.users import UNKNOWN, Users, fallback
from sftools.limits import MAX_NAME_BYTES, MAX_USERS


def test_users_and_groups_are_apart() -> None:
    users = Users()
    users.add_user(b"", 33, b"www-data")
    users.add_group(b"", 33, b"web")
    assert (users.user(b"", 33), users.group(b"", 33)) == (b"www-data", b"web")
    assert (users.user(b"", 34), users.group(b"", 34)) == (None, None)


def test_each_container_has_its_own() -> None:
    users = Users()
    users.add_user(b"", 1000, b"eva")
    users.add_user(b"c1", 1000, b"app")
    assert users.user(b"", 1000) == b"eva"
    assert users.user(b"c1", 1000) == b"app"
    assert users.user(b"c2", 1000) is None


def test_a_name_may_change_and_go() -> None:
    users = Users()
    users.add_user(b"", 1, b"old")
    users.add_user(b"", 1, b"new")
    users.add_group(b"", 1, b"group")
    assert users.user(b"", 1) == b"new"
    users.remove_user(b"", 1)
    users.remove_user(b"", 1)
    assert users.user(b"", 1) is None
    assert users.group(b"", 1) == b"group"
    users.remove_group(b"", 1)
    assert users.group(b"", 1) is None


def test_only_root_has_a_name_that_everybody_knows() -> None:
    assert fallback(0) == b"root"
    assert fallback(1) == fallback(0xFFFFFFFF) == UNKNOWN == b"<NA>"


def test_the_table_is_bounded_and_known_users_still_change() -> None:
    users = Users()
    for uid in range(MAX_USERS + 100):
        users.add_user(b"", uid, b"n")
    assert users.user(b"", MAX_USERS - 1) == b"n"
    assert users.user(b"", MAX_USERS + 50) is None
    users.add_user(b"", 5, b"renamed")
    assert users.user(b"", 5) == b"renamed"


def test_a_name_is_bounded() -> None:
    users = Users()
    users.add_user(b"", 1, b"x" * 65_535)
    name = users.user(b"", 1)
    assert name is not None
    assert len(name) <= MAX_NAME_BYTES


def test_a_container_id_is_bounded() -> None:
    users = Users()
    long = b"c" * 900_000
    users.add_user(long, 1, b"app")
    users.add_group(long, 1, b"web")
    assert max(len(key[0]) for table in (users._users, users._groups) for key in table) <= MAX_NAME_BYTES
    assert (users.user(long, 1), users.group(long, 1)) == (b"app", b"web")
    users.remove_user(long, 1)
    assert users.user(long, 1) is None
