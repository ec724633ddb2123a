// Events of sockets that carry addresses.
#pragma once

#include "emit.h"
#include "kernel.h"
#include "plain.bpf.h"
#include "sockets.h"
#include "vectors.h"

#define EINPROGRESS 115

// bind, connect, accept, sendto, recvfrom: calls with one address at most.
SEC("tp_btf/sys_exit")
int BPF_PROG(tuple, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	u32 event = rule->event;
	struct task_struct *task = current_task();
	s32 fd = argument(regs, 0);
	struct address *address;
	struct scratch *s = begin(event, rule->nparams);
	if (!s)
		return 0;
	put_s64(s, ret);
	if (event == PPME_SOCKET_BIND_X || event == PPME_SOCKET_CONNECT_X) {
		address = read_address(s, argument(regs, 1), argument(regs, 2));
		if (event == PPME_SOCKET_BIND_X) {
			put_address(s, address);
			put_s64(s, fd);
		} else {
			put_tuple(s, ret == 0 || ret == -EINPROGRESS ? sock_of(task, fd) : NULL, NULL, OUTBOUND);
			put_s64(s, fd);
			put_address(s, address);
		}
	} else if (event == PPME_SOCKET_SENDTO_X || event == PPME_SOCKET_RECVFROM_X) {
		bool sends = event == PPME_SOCKET_SENDTO_X;
		u64 size = argument(regs, 2);
		if (sends) {
			address = read_address(s, argument(regs, 4), argument(regs, 5));
			put_user(s, (void *)argument(regs, 1), up_to_snaplen(ret >= 0 ? ret : size));
			put_s64(s, fd);
			put_u32(s, size);
			put_tuple(s, sock_of(task, fd), address, OUTBOUND);
		} else {
			// Without an address the kernel does not look at its length, which may be anything.
			u64 from = ret >= 0 ? argument(regs, 4) : 0;
			address = read_address(s, from, from ? user_number(argument(regs, 5), 4) : 0);
			put_user(s, (void *)argument(regs, 1), ret > 0 ? up_to_snaplen((u64)ret < size ? ret : size) : 0);
			put_tuple(s, ret >= 0 ? sock_of(task, fd) : NULL, address, INBOUND);
			put_s64(s, fd);
			put_u32(s, size);
		}
	} else {
		// accept: the queue is that of the listening socket.
		struct sock *listening = ret >= 0 ? sock_of(task, fd) : NULL;
		u32 length = listening ? BPF_CORE_READ(listening, sk_ack_backlog) : 0;
		u32 most = listening ? BPF_CORE_READ(listening, sk_max_ack_backlog) : 0;
		put_tuple(s, ret >= 0 ? sock_of(task, ret) : NULL, NULL, INBOUND);
		put_u8(s, most ? (u64)length * 100 / most : 0);
		put_u32(s, length);
		put_u32(s, most);
		if (event == PPME_SOCKET_ACCEPT4_6_X)
			put_u32(s, argument(regs, 3));
	}
	submit(s);
	return 0;
}

// Control data that is recorded: descriptors that were passed, for example.
#define CONTROL_MAX 4096

SEC("tp_btf/sys_exit")
int BPF_PROG(message, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	bool sends = rule->event == PPME_SOCKET_SENDMSG_X;
	struct task_struct *task = current_task();
	s32 fd = argument(regs, 0);
	struct user_msghdr msg = {};
	struct address *address;
	struct scratch *s = begin(rule->event, rule->nparams);
	if (!s)
		return 0;
	if (bpf_probe_read_user(&msg, sizeof(msg), (void *)argument(regs, 1)))
		COUNT(unread);
	bool ok = sends || ret >= 0;
	address = read_address(s, ok ? (u64)msg.msg_name : 0, msg.msg_namelen);
	u64 size = vector_size((u64)msg.msg_iov, msg.msg_iovlen);
	put_s64(s, ret);
	if (!sends)
		put_u32(s, size);
	put_vector(s, (u64)msg.msg_iov, msg.msg_iovlen, ret >= 0 ? ret : sends ? size : 0);
	if (sends) {
		put_s64(s, fd);
		put_u32(s, size);
		put_tuple(s, sock_of(task, fd), address, OUTBOUND);
	} else {
		put_tuple(s, ok ? sock_of(task, fd) : NULL, address, INBOUND);
		put_user(s, msg.msg_control, ok ? (msg.msg_controllen < CONTROL_MAX ? msg.msg_controllen : CONTROL_MAX) : 0);
		put_s64(s, fd);
	}
	submit(s);
	return 0;
}

// sendmmsg and recvmmsg: an event for each message, with its own bytes as the result; a failed call is one event.
// The program does some and calls itself for more: the kernel allows 33 such calls, of which two bring us here.
#define MESSAGES_AT_ONCE 4

static __always_inline void one_message(struct scratch *s, struct pt_regs *regs, long ret, u32 event, u32 i)
{
	bool sends = event == PPME_SOCKET_SENDMMSG_X;
	struct task_struct *task = current_task();
	s32 fd = argument(regs, 0);
	struct mmsghdr msg = {};
	struct address *address;
	if (bpf_probe_read_user(&msg, sizeof(msg), (void *)(argument(regs, 1) + i * sizeof(msg))))
		COUNT(unread);
	s64 result = ret < 0 ? ret : msg.msg_len;
	bool ok = sends || ret >= 0;
	address = read_address(s, ok ? (u64)msg.msg_hdr.msg_name : 0, msg.msg_hdr.msg_namelen);
	u64 size = vector_size((u64)msg.msg_hdr.msg_iov, msg.msg_hdr.msg_iovlen);
	put_s64(s, result);
	put_s64(s, fd);
	put_u32(s, size);
	put_vector(s, (u64)msg.msg_hdr.msg_iov, msg.msg_hdr.msg_iovlen, result >= 0 ? result : sends ? size : 0);
	put_tuple(s, ok ? sock_of(task, fd) : NULL, address, sends ? OUTBOUND : INBOUND);
	if (!sends) {
		u64 control = msg.msg_hdr.msg_controllen;
		put_user(s, msg.msg_hdr.msg_control, ok ? (control < CONTROL_MAX ? control : CONTROL_MAX) : 0);
	}
}

int messages_next(unsigned long long *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, int(void *));
} again SEC(".maps") = {.values = {[0] = (void *)&messages_next}};

SEC("tp_btf/sys_exit")
int BPF_PROG(messages_next, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	for (u32 k = 0; k < MESSAGES_AT_ONCE; k++) {
		struct scratch *s = begin(rule->event, rule->nparams);
		if (!s)
			return 0;
		one_message(s, regs, ret, rule->event, s->message);
		submit(s);
		s->message++;
		opaque(s);
		if (ret <= 0 || s->message >= ret)
			return 0;
	}
	bpf_tail_call(ctx, &again, 0);
	struct scratch *s = scratch();
	if (s)
		COUNT_MANY(truncated, ret - s->message);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(messages, struct pt_regs *regs, long ret)
{
	struct scratch *s = scratch();
	if (!s)
		return 0;
	s->message = 0;
	bpf_tail_call(ctx, &again, 0);
	return 0;
}

#define SO_ERROR 4
#define SO_COOKIE 57

// getsockopt and setsockopt: the value is PT_DYN, a byte that says what follows.
SEC("tp_btf/sys_exit")
int BPF_PROG(sockopt, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	bool gets = rule->event == PPME_SOCKET_GETSOCKOPT_X;
	u32 level = argument(regs, 1), name = argument(regs, 2);
	u64 value = argument(regs, 3);
	u32 size = gets ? (ret < 0 ? 0 : user_number(argument(regs, 4), 4)) : argument(regs, 4);
	struct scratch *s = begin(rule->event, rule->nparams);
	if (!s)
		return 0;
	put_s64(s, ret);
	put_s64(s, (s32)argument(regs, 0));
	put_u8(s, sockopt_level(level));
	put_u8(s, sockopt_name(level, name));
	u8 *p = room(s);
	if (level == SOL_SOCKET && name == SO_ERROR) {
		p[0] = PPM_SOCKOPT_IDX_ERRNO;
		AS(u64, p + 1) = -(s64)(s32)user_number(value, 4);
		put(s, 9);
	} else if (level == SOL_SOCKET && name == SO_COOKIE) {
		p[0] = PPM_SOCKOPT_IDX_UINT64;
		AS(u64, p + 1) = user_number(value, 8);
		put(s, 9);
	} else if (level == SOL_SOCKET && size == 4) {
		p[0] = PPM_SOCKOPT_IDX_UINT32;
		AS(u32, p + 1) = user_number(value, 4);
		put(s, 5);
	} else {
		u32 part = size < settings.snaplen ? size : settings.snaplen;
		opaque(part);
		part &= PARAM_MAX / 2;
		p[0] = PPM_SOCKOPT_IDX_UNKNOWN;
		if (part && bpf_probe_read_user(p + 1, part, (void *)value))
			part = 0;
		put(s, 1 + part);
	}
	put_u32(s, size);
	submit(s);
	return 0;
}
