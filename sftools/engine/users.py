"""User and group names: from the capture's user lists, and from events while it goes on."""

from __future__ import annotations

from sftools.limits import MAX_USERS

_UNKNOWN = b"<NA>"
_ROOT = b"root"
_NOBODY_KNOWS = 0xFFFFFFFF


class Users:
    """Names by (container id, uid) and (container id, gid); the host's container id is empty.

    As libsinsp does, id 0 is root where nothing else is known, and every other unknown one "<NA>".
    """

    def __init__(self) -> None:
        self._users: dict[tuple[bytes, int], bytes] = {}
        self._groups: dict[tuple[bytes, int], bytes] = {}

    def add_user(self, container_id: bytes, uid: int, name: bytes) -> None:
        """A user exists. Past limits.MAX_USERS new ones are not taken."""
        self._add(self._users, (container_id, uid), name)

    def add_group(self, container_id: bytes, gid: int, name: bytes) -> None:
        """A group exists."""
        self._add(self._groups, (container_id, gid), name)

    @staticmethod
    def _add(table: dict[tuple[bytes, int], bytes], key: tuple[bytes, int], name: bytes) -> None:
        if len(table) < MAX_USERS or key in table:
            table[key] = name

    def remove_user(self, container_id: bytes, uid: int) -> None:
        """A user was deleted."""
        self._users.pop((container_id, uid), None)

    def remove_group(self, container_id: bytes, gid: int) -> None:
        """A group was deleted."""
        self._groups.pop((container_id, gid), None)

    def user(self, container_id: bytes, uid: int) -> bytes:
        """A user's name."""
        return self._name(self._users, container_id, uid)

    def group(self, container_id: bytes, gid: int) -> bytes:
        """A group's name."""
        return self._name(self._groups, container_id, gid)

    def argument(self, container_id: bytes, uid: int) -> bytes:
        """A uid as an argument reads: the user's name, else the number."""
        if uid == _NOBODY_KNOWS:
            return b"-1"
        return self._users.get((container_id, uid), b"%d" % uid)

    @staticmethod
    def _name(table: dict[tuple[bytes, int], bytes], container_id: bytes, number: int) -> bytes:
        if number == _NOBODY_KNOWS:
            return _UNKNOWN
        found = table.get((container_id, number))
        return found if found is not None else _ROOT if number == 0 else _UNKNOWN
