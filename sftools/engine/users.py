"""User and group names: from the capture's user lists, and from events while it goes on."""

from __future__ import annotations

from sftools.limits import MAX_NAME_BYTES, MAX_USERS

UNKNOWN = b"<NA>"


class Users:
    """Names by (container id, uid) and (container id, gid); the host's container id is empty."""

    def __init__(self) -> None:
        self._users: dict[tuple[bytes, int], bytes] = {}
        self._groups: dict[tuple[bytes, int], bytes] = {}

    def add_user(self, container_id: bytes, uid: int, name: bytes) -> None:
        """A user exists. Past limits.MAX_USERS new ones are not taken."""
        self._add(self._users, _key(container_id, uid), name)

    def add_group(self, container_id: bytes, gid: int, name: bytes) -> None:
        """A group exists."""
        self._add(self._groups, _key(container_id, gid), name)

    @staticmethod
    def _add(table: dict[tuple[bytes, int], bytes], key: tuple[bytes, int], name: bytes) -> None:
        if len(table) < MAX_USERS or key in table:
            table[key] = name[:MAX_NAME_BYTES]

    def remove_user(self, container_id: bytes, uid: int) -> None:
        """A user was deleted."""
        self._users.pop(_key(container_id, uid), None)

    def remove_group(self, container_id: bytes, gid: int) -> None:
        """A group was deleted."""
        self._groups.pop(_key(container_id, gid), None)

    def user(self, container_id: bytes, uid: int) -> bytes | None:
        """A user's name, or None where none is known."""
        return self._users.get(_key(container_id, uid))

    def group(self, container_id: bytes, gid: int) -> bytes | None:
        """A group's name, or None where none is known."""
        return self._groups.get(_key(container_id, gid))


def _key(container_id: bytes, number: int) -> tuple[bytes, int]:
    return container_id[:MAX_NAME_BYTES], number


def fallback(number: int) -> bytes:
    """What libsinsp calls a uid or gid of which no name is known."""
    return b"root" if number == 0 else UNKNOWN
