// clone and exec from both sides, and the exits of tasks.
#pragma once

#include "emit.h"
#include "filter.h"
#include "kernel.h"
#include "paths.h"
#include "rules.h"
#include "translate.h"

#define EXE_WRITABLE 1
#define EXE_FROM_MEMFD 4
#define AT_EXECFN 31
#define CAP_DAC_OVERRIDE 1
#define PF_EXITING 4
#define ANCESTORS 16

// Arguments and environment: so many bytes of each, as other recorders have it.
#define STRINGS_MAX 4096
#define STRINGS 128

// The parameters that clone and exec have in common, up to cgroups: who, how large, where from.
static __always_inline void put_identity(struct scratch *s, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	put_s64(s, BPF_CORE_READ(task, pid));
	put_s64(s, BPF_CORE_READ(task, tgid));
	put_s64(s, BPF_CORE_READ(task, real_parent, tgid));
	put_cwd(s, task);
	put_u64(s, BPF_CORE_READ(signal, rlim[7].rlim_cur));  // RLIMIT_NOFILE
	put_u64(s, BPF_CORE_READ(task, maj_flt));
	put_u64(s, BPF_CORE_READ(task, min_flt));
	put_u32(s, vm_size_kb(mm));
	put_u32(s, vm_rss_kb(mm));
	put_u32(s, vm_swap_kb(mm));
	put_kernel_str(s, task->comm, 16);
	put_cgroups(s, task);
}

// exe and args of the current program: the strings that the kernel put at the top of its stack, exe being the first.
static __always_inline void put_exe_args(struct scratch *s, struct mm_struct *mm)
{
	u64 start = BPF_CORE_READ(mm, arg_start), end = BPF_CORE_READ(mm, arg_end);
	u8 *p = room(s);
	long n = 0;
	if (start)
		n = bpf_probe_read_user_str(p, STRINGS_MAX, (void *)start);
	if (n <= 0) {
		put_none(s);
		put_none(s);
		return;
	}
	put(s, n);
	start += n;
	put_user(s, (void *)start, end <= start ? 0 : end - start < STRINGS_MAX ? end - start : STRINGS_MAX);
}

// The strings that an array of pointers points to, one after the other; `skip` of them left out.
static __always_inline void put_strings(struct scratch *s, u64 array, u32 skip)
{
	s->step = 0;
	for (u32 i = skip; i < STRINGS; i++) {
		u64 string = 0;
		u32 size = s->step;
		if (!array || bpf_probe_read_user(&string, 8, (void *)(array + 8 * i)) || !string)
			break;
		if (size >= STRINGS_MAX)
			break;
		long n = bpf_probe_read_user_str(room(s) + size, STRINGS_MAX, (void *)string);
		if (n <= 0)
			break;
		s->step = size + n;
		asm volatile("" ::: "memory");
	}
	put(s, s->step < STRINGS_MAX ? s->step : STRINGS_MAX);
}

static __always_inline u32 pidns_flag(struct task_struct *task, long ret)
{
	// The namespace that a child of this task is in: another one than its own after unshare, setns and CLONE_NEWPID.
	u32 level = ret == 0 ? pid_level(task) : BPF_CORE_READ(task, nsproxy, pid_ns_for_children, level);
	return level ? PPM_CL_CHILD_IN_PIDNS : 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(clone, struct pt_regs *regs, long ret)
{
	const struct rule *rule = &rules[regs->orig_ax & (SYSCALLS - 1)];
	struct task_struct *task = current_task();
	struct scratch *s = begin(rule->event, rule->nparams);
	u64 flags = 0;
	if (!s)
		return 0;
	put_s64(s, ret);
	put_exe_args(s, BPF_CORE_READ(task, mm));
	put_identity(s, task);
	if (rule->event == PPME_SYSCALL_CLONE_20_X)
		flags = argument(regs, 0);
	else if (rule->event == PPME_SYSCALL_CLONE3_X)
		bpf_probe_read_user(&flags, 8, (void *)argument(regs, 0));
	else if (rule->event == PPME_SYSCALL_VFORK_20_X)
		flags = 0x4100;  // CLONE_VFORK | CLONE_VM
	put_u32(s, clone_flags(flags) | pidns_flag(task, ret));
	put_u32(s, BPF_CORE_READ(task, cred, euid.val));
	put_u32(s, BPF_CORE_READ(task, cred, egid.val));
	u32 level = pid_level(task);
	put_s64(s, pid_at_level(BPF_CORE_READ(task, thread_pid), level));
	put_s64(s, pid_at_level(BPF_CORE_READ(task, group_leader, thread_pid), level));
	struct pid_namespace *ns = BPF_CORE_READ(task, nsproxy, pid_ns_for_children);
	put_u64(s, BPF_CORE_READ(ns, child_reaper, start_time));
	submit(s);
	return 0;
}

// The name that exec was called with. Of the arguments' registers nothing is left after success, but the kernel put the
// name on the new stack too, and its address among the auxiliary vector's (AT_EXECFN).
static __always_inline u64 exec_filename(struct mm_struct *mm)
{
	for (u32 i = 0; i < 26; i++) {
		u64 entry[2] = {};
		bpf_core_read(entry, sizeof(entry), &mm->saved_auxv[2 * i]);
		if (entry[0] == AT_EXECFN)
			return entry[1];
		if (!entry[0])
			break;
	}
	return 0;
}

// As far as permission bits go: may the process write to its own program?
static __always_inline bool exe_writable(struct task_struct *task, struct inode *inode, u64 effective)
{
	u32 mode = BPF_CORE_READ(inode, i_mode);
	if (effective >> CAP_DAC_OVERRIDE & 1)
		return true;
	if (BPF_CORE_READ(task, cred, fsuid.val) == BPF_CORE_READ(inode, i_uid.val))
		return mode & 0200;
	if (BPF_CORE_READ(task, cred, fsgid.val) == BPF_CORE_READ(inode, i_gid.val))
		return mode & 0020;
	return mode & 0002;
}

static __always_inline u64 capabilities(const void *field)
{
	u64 set = 0;
	bpf_probe_read_kernel(&set, sizeof(set), field);
	return set;
}

// A successful execveat comes as execve: the kernel changes the call's number when it starts a 64-bit program.
SEC("tp_btf/sys_exit")
int BPF_PROG(exec, struct pt_regs *regs, long ret)
{
	// After success the number is execve's of the new program's kind.
	const struct rule *rule = &rules[(ret == 0 ? __NR_execve : regs->orig_ax) & (SYSCALLS - 1)];
	bool at = rule->event == PPME_SYSCALL_EXECVEAT_X;
	struct task_struct *task = current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct scratch *s = begin(rule->event, rule->nparams);
	if (!s)
		return 0;
	put_s64(s, ret);
	if (ret == 0) {
		note_beginning(bpf_get_current_pid_tgid());
		put_exe_args(s, mm);
	} else {
		// The old program goes on: what it wanted to run is in the call's arguments.
		u64 argv = argument(regs, at ? 2 : 1), first = 0;
		bpf_probe_read_user(&first, 8, (void *)argv);
		put_user_str(s, (void *)first, STRINGS_MAX);
		put_strings(s, argv, 1);
	}
	put_identity(s, task);
	if (ret == 0) {
		u64 start = BPF_CORE_READ(mm, env_start), end = BPF_CORE_READ(mm, env_end);
		put_user(s, (void *)start, end <= start ? 0 : end - start < STRINGS_MAX ? end - start : STRINGS_MAX);
	} else {
		put_strings(s, argument(regs, at ? 3 : 2), 0);
	}
	struct tty_struct *tty = BPF_CORE_READ(signal, tty);
	u32 dev = 0;
	if (tty) {
		struct tty_driver *driver = BPF_CORE_READ(tty, driver);
		u32 minor = BPF_CORE_READ(driver, minor_start) + BPF_CORE_READ(tty, index);
		dev = encode_dev((u32)BPF_CORE_READ(driver, major) << 20 | minor);
	}
	put_u32(s, dev);
	struct pid *group = BPF_CORE_READ(signal, pids[PIDTYPE_PGID]);
	put_s64(s, pid_at_level(group, pid_level(task)));
	put_u32(s, bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : -1u);  // with CONFIG_AUDIT

	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct inode *inode = BPF_CORE_READ(exe, f_inode);
	const struct cred *cred = BPF_CORE_READ(task, cred);
	u64 effective = capabilities(__builtin_preserve_access_index(&cred->cap_effective));
	put_u32(s, (exe_writable(task, inode, effective) ? EXE_WRITABLE : 0) | (is_memfd(exe) ? EXE_FROM_MEMFD : 0));
	put_u64(s, capabilities(__builtin_preserve_access_index(&cred->cap_inheritable)));
	put_u64(s, capabilities(__builtin_preserve_access_index(&cred->cap_permitted)));
	put_u64(s, effective);
	put_u64(s, BPF_CORE_READ(inode, i_ino));
	put_u64(s, ctime_ns(inode));
	put_u64(s, mtime_ns(inode));
	put_u32(s, BPF_CORE_READ(cred, euid.val));
	if (exe)
		put_path(s, task, BPF_CORE_READ(exe, f_path.dentry), BPF_CORE_READ(exe, f_path.mnt));
	else
		put_none(s);
	put_s64(s, pid_in_init(group));
	put_u32(s, BPF_CORE_READ(cred, egid.val));
	if (!at)
		put_user_str(s, (void *)(ret == 0 ? exec_filename(mm) : argument(regs, 0)), PATH_MAX);
	submit(s);
	return 0;
}

// Who becomes the parent of an exiting task's children: 0 where it has none, or where it is not found out.
static __always_inline s64 reaper(struct task_struct *task)
{
	struct list_head *children = __builtin_preserve_access_index(&task->children);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	if (BPF_CORE_READ(children, next) == children)
		return 0;
	if (BPF_CORE_READ(signal, live.counter) > 0) {
		// Another thread of the process goes on, the main one if it can.
		struct task_struct *leader = BPF_CORE_READ(task, group_leader);
		return BPF_CORE_READ(leader, flags) & PF_EXITING ? 0 : BPF_CORE_READ(leader, pid);
	}
	if (BPF_CORE_READ_BITFIELD_PROBED(signal, has_child_subreaper)) {
		struct task_struct *over = task;
		for (u32 i = 0; i < ANCESTORS; i++) {
			over = BPF_CORE_READ(over, real_parent);
			struct signal_struct *theirs = BPF_CORE_READ(over, signal);
			if (!over || BPF_CORE_READ(over, pid) <= 1)
				break;
			if (BPF_CORE_READ_BITFIELD_PROBED(theirs, is_child_subreaper))
				return BPF_CORE_READ(over, tgid);
		}
	}
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct upid own = {};
	bpf_core_read(&own, sizeof(own), &pid->numbers[level]);
	return BPF_CORE_READ(own.ns, child_reaper, pid);
}

static __always_inline void put_exit(struct task_struct *task)
{
	s32 code = BPF_CORE_READ(task, exit_code);
	struct scratch *s = begin(PPME_PROCEXIT_1_E, NPARAMS_PPME_PROCEXIT_1_E);
	if (!s)
		return;
	put_s64(s, code);
	put_s64(s, code >> 8 & 0xff);
	put_u8(s, code & 0x7f);
	put_u8(s, code >> 7 & 1);
	put_s64(s, reaper(task));
	submit(s);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	u64 ids = bpf_get_current_pid_tgid();
	u32 tgid = ids >> 32, tid = ids;
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return 0;
	bool began = may_leave() && !bpf_map_delete_elem(&begun, &tid);
	if (recorded(PPME_PROCEXIT_1_E) && (began || wanted(tgid)))
		put_exit(task);
	// With its last thread the process is over: its number will be another's. One that is followed is recorded only
	// as a child of another; one that was named is recorded whenever it runs. Two threads that end at once see no
	// other alive: only the one that is alone may delete.
	if (settings.by_tgid && settings.follow && BPF_CORE_READ(task, signal, live.counter) == 0 &&
	    BPF_CORE_READ(task, signal, nr_threads) == 1)
		bpf_map_delete_elem(&tgids, &tgid);
	return 0;
}

// Of a recorded process the children are too. Only whole processes: a thread is recorded as its process is.
SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	u32 from = BPF_CORE_READ(parent, tgid), to = BPF_CORE_READ(child, tgid);
	u8 yes = 1;
	if (may_leave() && wanted(from))
		note_beginning(BPF_CORE_READ(child, pid));
	if (!settings.by_tgid || !settings.follow || from == to)
		return 0;
	if (!bpf_map_lookup_elem(&tgids, &from))
		bpf_map_delete_elem(&tgids, &to);  // where a process of that number ended unseen
	else if (bpf_map_update_elem(&tgids, &to, &yes, BPF_ANY))
		COUNT(unfollowed);
	return 0;
}
