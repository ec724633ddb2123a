// File events whose parameters are not the call's plain arguments.
#pragma once

#include "emit.h"
#include "kernel.h"
#include "paths.h"
#include "plain.bpf.h"
#include "sockets.h"
#include "vectors.h"

struct how {
	u64 flags, mode, resolve;
};

SEC("tp_btf/sys_exit")
int BPF_PROG(openat2, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct file *file = result_file(task, ret);
	struct how how = {};
	struct scratch *s = begin(PPME_SYSCALL_OPENAT2_X, NPARAMS_PPME_SYSCALL_OPENAT2_X);
	if (!s)
		return 0;
	if (bpf_probe_read_user(&how, sizeof(how), (void *)argument(regs, 2)))
		COUNT(unread);
	put_s64(s, ret);
	put_s64(s, (s32)argument(regs, 0));
	put_user_str(s, (void *)argument(regs, 1), PATH_MAX);
	put_u32(s, open_flags(how.flags) | created_flag(task, ret));
	put_u32(s, open_mode(how.flags, how.mode));
	put_u32(s, resolve_flags(how.resolve));
	put_u32(s, file ? dev_of(file) : 0);
	put_u64(s, file ? ino_of(file) : 0);
	submit(s);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(open_by_handle, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct file *file = result_file(task, ret);
	struct scratch *s = begin(PPME_SYSCALL_OPEN_BY_HANDLE_AT_X, NPARAMS_PPME_SYSCALL_OPEN_BY_HANDLE_AT_X);
	if (!s)
		return 0;
	put_s64(s, ret);
	put_s64(s, (s32)argument(regs, 0));
	put_u32(s, open_flags(argument(regs, 2)) | created_flag(task, ret));
	if (file)
		put_path(s, task, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	else
		put_none(s);
	put_u32(s, file ? dev_of(file) : 0);
	put_u64(s, file ? ino_of(file) : 0);
	submit(s);
	return 0;
}

// readv and its kin. Of read bytes the result says how many there are, of those to be written the vector.
SEC("tp_btf/sys_exit")
int BPF_PROG(vector, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	u32 event = rule->event;
	bool reads = event == PPME_SYSCALL_READV_X || event == PPME_SYSCALL_PREADV_X;
	bool positioned = event == PPME_SYSCALL_PREADV_X || event == PPME_SYSCALL_PWRITEV_X;
	struct scratch *s = begin(event, rule->nparams);
	if (!s)
		return 0;
	u64 vector = argument(regs, 1), count = argument(regs, 2);
	u64 total = vector_size(vector, count);
	put_s64(s, ret);
	if (reads)
		put_u32(s, total);
	put_vector(s, vector, count, reads ? (ret > 0 ? ret : 0) : (ret >= 0 ? ret : total));
	put_s64(s, (s32)argument(regs, 0));
	if (!reads)
		put_u32(s, total);
	if (positioned)
		put_u64(s, argument(regs, 3));
	submit(s);
	return 0;
}

// pipe, pipe2 and socketpair: two fds that the kernel wrote to memory.
SEC("tp_btf/sys_exit")
int BPF_PROG(pair, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	u32 event = rule->event;
	bool sockets = event == PPME_SOCKET_SOCKETPAIR_X;
	struct task_struct *task = current_task();
	s32 fds[2] = {-1, -1};
	struct scratch *s = begin(event, rule->nparams);
	if (!s)
		return 0;
	if (ret == 0 && bpf_probe_read_user(fds, sizeof(fds), (void *)argument(regs, sockets ? 3 : 0)))
		COUNT(unread);
	put_s64(s, ret);
	put_s64(s, fds[0]);
	put_s64(s, fds[1]);
	if (sockets) {
		struct sock *sock = ret == 0 ? sock_of(task, fds[0]) : NULL;
		put_u64(s, (u64)sock);
		put_u64(s, sock ? (u64)unix_peer(sock) : 0);
		put_u32(s, argument(regs, 0));
		put_u32(s, argument(regs, 1));
		put_u32(s, argument(regs, 2));
	} else {
		struct file *file = ret == 0 ? file_of(task, fds[0]) : NULL;
		put_u64(s, file ? ino_of(file) : 0);
		if (event == PPME_SYSCALL_PIPE2_X)
			put_u32(s, open_flags(argument(regs, 1)) & ~3);
	}
	submit(s);
	return 0;
}
