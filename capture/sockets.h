// Addresses of sockets: PT_SOCKADDR as the caller gave it, PT_SOCKTUPLE as the kernel's socket has it.
#pragma once

#include "emit.h"
#include "kernel.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define UNIX_PATH 108

enum direction { OUTBOUND, INBOUND };

// An address that the process passed or was given; family 0 where there is none.
struct address {
	u16 family;
	u16 port;      // as it lies there: network order
	u8 rest[124];  // IPv4: 4 bytes; IPv6: flow, 16 bytes. Of a unix socket the path begins at `port`.
};

static __always_inline struct address *read_address(struct scratch *s, u64 from, u32 size)
{
	struct address *a = (struct address *)s->address;
	__builtin_memset(a, 0, sizeof(*a));
	if (!from || size < 2)
		return a;
	if (size > UNIX_PATH + 2)
		size = UNIX_PATH + 2;
	opaque(size);
	size &= 127;
	if (bpf_probe_read_user(a, size, (void *)from))
		COUNT(unread);
	return a;
}

static __always_inline struct sock *unix_peer(struct sock *sock)
{
	// Where af_unix is a module, its types are not among the kernel's own.
	return bpf_core_type_exists(struct unix_sock) ? BPF_CORE_READ((struct unix_sock *)sock, peer) : NULL;
}

// A path of at most `length` bytes, with a NUL, at p; that of an abstract socket, which ends where its length says,
// without its leading NUL. Returns its size.
static __always_inline u32 unix_path(u8 *p, const u8 *path, u64 length)
{
	u8 first = 0;
	bpf_probe_read_kernel(&first, 1, path);
	if (!first)
		length--;
	if (length > UNIX_PATH)
		length = 0;  // it has no name at all
	opaque(length);
	long n = bpf_probe_read_kernel_str(p, (length & 127) + 1, first ? path : path + 1);
	if (n <= 0) {
		p[0] = 0;
		n = 1;
	}
	return n;
}

static __always_inline u32 unix_sock_path(u8 *p, struct sock *sock)
{
	struct unix_address *address = NULL;
	if (bpf_core_type_exists(struct unix_sock))
		address = BPF_CORE_READ((struct unix_sock *)sock, addr);
	if (!address) {
		p[0] = 0;
		return 1;
	}
	if (!bpf_core_type_exists(struct unix_address))
		return 0;
	const u8 *path = (const u8 *)__builtin_preserve_access_index(&address->name[0].sun_path);
	return unix_path(p, path, BPF_CORE_READ(address, len) - 2);
}

static __always_inline void put_address(struct scratch *s, struct address *a)
{
	u8 *p = room(s);
	p[0] = a->family;
	switch (a->family) {
	case AF_INET:
		AS(u32, p + 1) = AS(u32, a->rest);
		AS(u16, p + 5) = bpf_ntohs(a->port);
		return put(s, 7);
	case AF_INET6:
		__builtin_memcpy(p + 1, a->rest + 4, 16);
		AS(u16, p + 17) = bpf_ntohs(a->port);
		return put(s, 19);
	case AF_UNIX:
		return put(s, 1 + unix_path(p + 1, (u8 *)&a->port, UNIX_PATH));
	default:
		return put_none(s);
	}
}

// Both ends of a socket. `other` is the far end where the call names it: a datagram's. A socket's local address may be
// none as long as it is not connected.
static __always_inline void put_tuple(struct scratch *s, struct sock *sock, struct address *other, enum direction direction)
{
	u8 *p = room(s);
	if (!sock)
		return put_none(s);
	u16 family = BPF_CORE_READ(sock, __sk_common.skc_family);
	bool named = other && other->family == family && BPF_CORE_READ(sock, sk_type) != SOCK_STREAM;
	u16 local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
	u16 far_port = bpf_ntohs(named ? other->port : BPF_CORE_READ(sock, __sk_common.skc_dport));
	bool out = direction == OUTBOUND;

	p[0] = family;
	if (family == AF_INET) {
		u32 local = BPF_CORE_READ(sock, __sk_common.skc_rcv_saddr);
		u32 far = named ? AS(u32, other->rest) : BPF_CORE_READ(sock, __sk_common.skc_daddr);
		AS(u32, p + 1) = out ? local : far;
		AS(u16, p + 5) = out ? local_port : far_port;
		AS(u32, p + 7) = out ? far : local;
		AS(u16, p + 11) = out ? far_port : local_port;
		return put(s, 13);
	}
	if (family == AF_INET6 && bpf_core_field_exists(sock->__sk_common.skc_v6_daddr)) {
		struct in6_addr local = BPF_CORE_READ(sock, __sk_common.skc_v6_rcv_saddr);
		struct in6_addr far = BPF_CORE_READ(sock, __sk_common.skc_v6_daddr);
		if (named)
			__builtin_memcpy(&far, other->rest + 4, 16);
		__builtin_memcpy(p + 1, out ? &local : &far, 16);
		AS(u16, p + 17) = out ? local_port : far_port;
		__builtin_memcpy(p + 19, out ? &far : &local, 16);
		AS(u16, p + 35) = out ? far_port : local_port;
		return put(s, 37);
	}
	if (family == AF_UNIX) {
		struct sock *peer = unix_peer(sock);
		AS(u64, p + 1) = (u64)(out ? peer : sock);
		AS(u64, p + 9) = (u64)(out ? sock : peer);
		u32 size;
		if (named)
			size = unix_path(p + 17, (u8 *)&other->port, UNIX_PATH);
		else
			size = unix_sock_path(p + 17, out ? peer : sock);
		return put(s, 17 + size);
	}
	put_none(s);
}
