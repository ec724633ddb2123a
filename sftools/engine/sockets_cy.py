"""What socket events say: addresses and names of sockets, in an FdInfo. The rules are libsinsp's (parsers.cpp, ifinfo.cpp).

An address is a PT_SOCKADDR, a tuple a PT_SOCKTUPLE parameter: u8 family in the driver's numbering (1 unix, 2 inet,
10 inet6), IP addresses in network order, ports in host order. IPv4-mapped IPv6 addresses are IPv4.
"""

import struct

try:
    import cython
except ModuleNotFoundError:
    from sftools import cython_standin as cython

if cython.compiled:
    from cython.cimports.sftools.engine.state_cy import FdInfo
else:
    from sftools.engine.state_cy import FdInfo

from sftools.engine.state_cy import ROLE_SERVER
from sftools.limits import MAX_INTERFACES, MAX_NAME_BYTES
from sftools.scap import fd_types, tables

_UNPACK_IP4 = struct.Struct("<IHIH").unpack_from
_UNPACK_ADDR4 = struct.Struct("<IH").unpack_from
_UNPACK_U16 = struct.Struct("<H").unpack_from
_UNPACK_2U64 = struct.Struct("<QQ").unpack_from

_MAPPED = bytes(10) + b"\xff\xff"
_LOOPBACK = cython.declare(cython.uint, 0x0100007F)
_SOCK_CLOEXEC = cython.declare(cython.uint, 0x80000)
_MAX_NAME = cython.declare(cython.Py_ssize_t, MAX_NAME_BYTES)

_AF_UNIX = cython.declare(cython.int, tables.PPM_AF_UNIX)
_AF_INET = cython.declare(cython.int, tables.PPM_AF_INET)
_AF_INET6 = cython.declare(cython.int, tables.PPM_AF_INET6)
_AF_NETLINK = cython.declare(cython.int, tables.PPM_AF_NETLINK)
_FD_IPV4_SERVSOCK = cython.declare(cython.int, fd_types.FD_IPV4_SERVSOCK)
_FD_IPV4_SOCK = cython.declare(cython.int, fd_types.FD_IPV4_SOCK)
_FD_IPV6_SERVSOCK = cython.declare(cython.int, fd_types.FD_IPV6_SERVSOCK)
_FD_IPV6_SOCK = cython.declare(cython.int, fd_types.FD_IPV6_SOCK)
_FD_NETLINK = cython.declare(cython.int, fd_types.FD_NETLINK)
_FD_UNIX_SOCK = cython.declare(cython.int, fd_types.FD_UNIX_SOCK)
_L4_ICMP = cython.declare(cython.int, fd_types.L4_ICMP)
_L4_RAW = cython.declare(cython.int, fd_types.L4_RAW)
_L4_TCP = cython.declare(cython.int, fd_types.L4_TCP)
_L4_UDP = cython.declare(cython.int, fd_types.L4_UDP)
_ROLE_SERVER = cython.declare(cython.int, ROLE_SERVER)


def swap(info):
    """Turn source and destination round."""
    info.sip, info.dip = info.dip, info.sip
    info.sport, info.dport = info.dport, info.sport
    info.sip6, info.dip6 = info.dip6, info.sip6
    info.changed()


def init_socket(info, domain, type_, protocol):
    """A socket as socket() makes it: domain in the driver's numbering, type and protocol in the kernel's."""
    info.cloexec = type_ & _SOCK_CLOEXEC != 0
    if domain == _AF_UNIX:
        info.type = _FD_UNIX_SOCK
        return 0
    if domain == _AF_NETLINK:
        info.type = _FD_NETLINK
        return 0
    if domain != _AF_INET and domain != _AF_INET6:
        return 0
    info.type = _FD_IPV4_SOCK if domain == _AF_INET else _FD_IPV6_SOCK
    raw: cython.bint = type_ & 0xFF == 3
    if protocol == 6:
        info.l4proto = _L4_RAW if raw else _L4_TCP
    elif protocol == 17:
        info.l4proto = _L4_RAW if raw else _L4_UDP
    elif protocol == 0:
        if type_ & 0xFF == 1:
            info.l4proto = _L4_TCP
        elif type_ & 0xFF == 2:
            info.l4proto = _L4_UDP
    elif protocol == 1:
        info.l4proto = _L4_RAW if raw else _L4_ICMP
    elif protocol == 255:
        info.l4proto = _L4_RAW


def unix_name(tuple_):
    """The name libsinsp gives a unix socket: source->destination and path."""
    if len(tuple_) < 17:
        return b""
    source, target = _UNPACK_2U64(tuple_, 1)
    return b"%x->%x %s" % (source, target, _path(tuple_, 17))


def set_tuple(info, tuple_):
    """Take the addresses of a socket tuple; False where they, or the same the other way round, are there already."""
    family: cython.int = tuple_[0]
    sip: cython.uint
    dip: cython.uint
    sport: cython.uint
    dport: cython.uint
    if family == _AF_UNIX:
        info.type = _FD_UNIX_SOCK
        info.name = unix_name(tuple_)
        info.named = True
        return True
    if family == _AF_INET and len(tuple_) >= 13:
        sip, sport, dip, dport = _UNPACK_IP4(tuple_, 1)
    elif family == _AF_INET6 and len(tuple_) >= 37:
        sport = _UNPACK_U16(tuple_, 17)[0]
        dport = _UNPACK_U16(tuple_, 35)[0]
        if tuple_[1:13] == _MAPPED and tuple_[19:31] == _MAPPED:
            sip = int.from_bytes(tuple_[13:17], "little")
            dip = int.from_bytes(tuple_[31:35], "little")
        else:
            return _set_tuple6(info, tuple_[1:17], sport, tuple_[19:35], dport)
    else:
        return False
    info.named = True
    if info.type == _FD_IPV4_SOCK:
        if (info.sip == sip and info.sport == sport and info.dip == dip and info.dport == dport) or (
            info.sip == dip and info.sport == dport and info.dip == sip and info.dport == sport
        ):
            return False
    info.type = _FD_IPV4_SOCK
    info.sip = sip
    info.dip = dip
    info.sport = sport
    info.dport = dport
    return True


def _set_tuple6(info, sip6, sport, dip6, dport):
    """The same for IPv6."""
    info.named = True
    if info.type == _FD_IPV6_SOCK:
        if (info.sip6 == sip6 and info.sport == sport and info.dip6 == dip6 and info.dport == dport) or (
            info.sip6 == dip6 and info.sport == dport and info.dip6 == sip6 and info.dport == sport
        ):
            return False
    info.type = _FD_IPV6_SOCK
    info.sip6 = sip6
    info.dip6 = dip6
    info.sport = sport
    info.dport = dport
    return True


def set_bound(info, address):
    """bind(): with a port, a server's socket; a unix socket gets its path."""
    if address[0] == _AF_INET and len(address) >= 7:
        ip, port = _UNPACK_ADDR4(address, 1)
        if port:
            info.type = _FD_IPV4_SERVSOCK
            info.sip, info.sport, info.dip, info.dport = ip, port, 0, 0
            info.role = _ROLE_SERVER
    elif address[0] == _AF_INET6 and len(address) >= 19:
        port = _UNPACK_U16(address, 17)[0]
        if port:
            info.dip, info.dport, info.sport = 0, 0, port
            if address[1:13] == _MAPPED:
                info.type = _FD_IPV4_SERVSOCK
                info.sip = int.from_bytes(address[13:17], "little")
            else:
                info.type = _FD_IPV6_SERVSOCK
                info.sip6 = address[1:17]
                info.dip6 = None
            info.role = _ROLE_SERVER
    elif address[0] == _AF_UNIX:
        info.name = _path(address, 1)
    info.named = True
    info.changed()


def set_destination(info, address):
    """The address that connect() was asked for."""
    if address[0] == _AF_INET and len(address) >= 7:
        info.type = _FD_IPV4_SOCK
        info.dip, info.dport = _UNPACK_ADDR4(address, 1)
    elif address[0] == _AF_INET6 and len(address) >= 19:
        info.dport = _UNPACK_U16(address, 17)[0]
        if address[1:13] == _MAPPED:
            info.type = _FD_IPV4_SOCK
            info.dip = int.from_bytes(address[13:17], "little")
        else:
            info.type = _FD_IPV6_SOCK
            info.dip6 = address[1:17]
    elif address[0] == _AF_UNIX:
        info.name = _path(address, 1)
        info.named = True
    info.changed()


def _path(raw: bytes, at: cython.Py_ssize_t) -> bytes:
    """The path in a unix address, which a NUL may end."""
    return raw[at : at + _MAX_NAME].split(b"\0", 1)[0]


@cython.final
@cython.cclass
class Interfaces:
    """The machine's network interfaces, which tell an address that a datagram lacks."""

    def __init__(self):
        self.inet = []
        self.inet6 = []

    def add(self, entry):
        """An InterfaceEntry of the capture's interface list."""
        if len(self.inet) + len(self.inet6) >= MAX_INTERFACES:
            return
        if entry.addr6 is None:
            self.inet.append((entry.addr, entry.mask))
        else:
            self.inet6.append(entry.addr6)

    def complete(self, info):
        """Fill a missing address in from the machine's interfaces, as libsinsp guesses it."""
        if info.type == _FD_IPV4_SOCK and (info.sip == 0 or info.dip == 0):
            if not self.inet:
                return 0
            guess: cython.uint = self._nearest(info.dip if info.sip == 0 else info.sip)
            if info.sip == 0:
                if guess == info.dip and info.sport == info.dport:
                    return 0
                info.sip = guess
            else:
                if guess == info.sip and info.sport == info.dport:
                    return 0
                info.dip = guess
        elif info.type == _FD_IPV6_SOCK and info.sip6 is not None and info.dip6 is not None:
            empty = bytes(16)
            if (info.sip6 != empty and info.dip6 != empty) or not self.inet6:
                return 0
            other = info.dip6 if info.sip6 == empty else info.sip6
            found = self._nearest6(other)
            if found == other and info.sport == info.dport:
                return 0
            if info.sip6 == empty:
                info.sip6 = found
            else:
                info.dip6 = found

    def _nearest(self, address):
        for addr, _ in self.inet:
            if addr == address:
                return addr
        for addr, mask in self.inet:
            if addr & mask == address & mask:
                return addr
        for addr, _ in self.inet:
            if addr != _LOOPBACK:
                return addr
        return 0

    def _nearest6(self, address: bytes) -> bytes:
        if address in self.inet6:
            return address
        for addr in self.inet6:
            if addr[:8] == address[:8]:
                return addr
        for addr in self.inet6:
            if addr != bytes(15) + b"\x01":
                return addr
        return bytes(16)


if not cython.compiled:
    from sftools.cython_standin import plain_defaults

    plain_defaults(__file__, globals())
