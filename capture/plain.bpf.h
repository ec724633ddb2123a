// Events that are made of the call's arguments as they are: what the rule says, parameter by parameter.
#pragma once

#include "emit.h"
#include "kernel.h"
#include "rules.h"
#include "translate.h"

#define PR_SET_NAME 15
#define PR_GET_CHILD_SUBREAPER 37
#define FMODE_CREATED 0x100000

static __always_inline struct file *result_file(struct task_struct *task, long ret)
{
	return ret < 0 ? NULL : file_of(task, ret);
}

static __always_inline u32 created_flag(struct task_struct *task, long ret)
{
	struct file *file = result_file(task, ret);
	return file && ((u32)BPF_CORE_READ(file, f_mode) & FMODE_CREATED) ? PPM_O_F_CREATED : 0;
}

static __always_inline u64 user_number(u64 from, u32 size)
{
	u64 value = 0;
	if (from && bpf_probe_read_user(&value, size & 15, (void *)from)) {
		COUNT(unread);
		value = 0;
	}
	return value;
}

static __always_inline u64 up_to_snaplen(u64 size)
{
	return size < settings.snaplen ? size : settings.snaplen;
}

static __always_inline void put_param(struct scratch *s, struct task_struct *task, long ret, u32 kind, u32 a)
{
	u64 v = s->args[a & 7];
	struct file *file;

	switch (kind) {
	case K_RES: return put_s64(s, ret);
	case K_S64: return put_s64(s, (s32)v);
	case K_U8: return put_u8(s, v);
	case K_U32: return put_u32(s, v);
	case K_U64: return put_u64(s, v);
	case K_ZERO8: return put_u8(s, 0);
	case K_ZERO32: return put_u32(s, 0);
	case K_STR_IF_POSITIVE:
		if (ret <= 0)
			return put_none(s);
	case K_STR: return put_user_str(s, (void *)v, PATH_MAX);
	case K_READ: return put_user(s, (void *)v, ret > 0 ? up_to_snaplen(ret) : 0);
	case K_WRITTEN: return put_user(s, (void *)v, up_to_snaplen(ret >= 0 ? ret : s->args[(a + 1) & 7]));
	case K_OPEN_FLAGS: return put_u32(s, open_flags(v) & ~3);
	case K_OPEN_FLAGS16: return put_u16(s, open_flags(v) & ~3);
	case K_OPEN_STATE: return put_u32(s, open_flags(v) | created_flag(task, ret));
	case K_CREATED: return put_u16(s, created_flag(task, ret));
	case K_OPEN_MODE: return put_u32(s, open_mode(s->args[(a - 1) & 7], v));
	case K_MODE: return put_u32(s, v & 07777);
	case K_DEV:
		file = result_file(task, ret);
		return put_u32(s, file ? dev_of(file) : 0);
	case K_INO:
		file = result_file(task, ret);
		return put_u64(s, file ? ino_of(file) : 0);
	case K_VM_SIZE: return put_u32(s, vm_size_kb(BPF_CORE_READ(task, mm)));
	case K_VM_RSS: return put_u32(s, vm_rss_kb(BPF_CORE_READ(task, mm)));
	case K_VM_SWAP: return put_u32(s, vm_swap_kb(BPF_CORE_READ(task, mm)));
	case K_PROT: return put_u32(s, prot_flags(v));
	case K_MMAP_FLAGS: return put_u32(s, mmap_flags(v));
	case K_CLONE_FLAGS: return put_u32(s, clone_flags(v));
	case K_FCNTL: return put_u8(s, fcntl_command(v));
	case K_PTRACE: return put_u16(s, ptrace_request(v));
	case K_DYN64: {
		u8 *p = room(s);
			p[0] = 0;
		AS(u64, p + 1) = v;
		return put(s, 9);
	}
	case K_AT32: return put_u32(s, ret < 0 ? 0 : user_number(v + 4 * (a >> 3), 4));
	case K_AT64: return put_u64(s, user_number(v, 8));
	case K_PRCTL_STR:
		return (u32)s->args[0] == PR_SET_NAME ? put_user_str(s, (void *)v, 16) : put_none(s);
	case K_PRCTL_INT:
		if ((u32)s->args[0] == PR_SET_NAME)
			return put_s64(s, 0);
		return put_s64(s, (u32)s->args[0] == PR_GET_CHILD_SUBREAPER ? (s32)user_number(v, 4) : (s64)v);
	case K_NONBLOCK: return put_u32(s, v & 04000 ? 1 : 0);
	case K_SOCKET_FLAGS: return put_u32(s, open_flags(v) & (PPM_O_NONBLOCK | PPM_O_CLOEXEC));
	default: return put_none(s);
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(plain, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	u32 nparams = rule->nparams;
	struct task_struct *task = current_task();
	struct scratch *s = begin(rule->event, nparams);
	if (!s)
		return 0;
	s->args[0] = regs->di;
	s->args[1] = regs->si;
	s->args[2] = regs->dx;
	s->args[3] = regs->r10;
	s->args[4] = regs->r8;
	s->args[5] = regs->r9;
	for (u32 i = 0; i < 10; i++) {
		if (i >= nparams)
			break;
		u32 param = rule->params[i];
		put_param(s, task, ret, param & 0xff, param >> 8);
	}
	submit(s);
	return 0;
}
