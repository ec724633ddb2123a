// Reading the kernel's structures, whichever release they are of. A structure whose fields changed is declared here in
// each of its forms (name___form): libbpf matches them with the running kernel's and the others are never read.
#pragma once

#include "maps.h"

#ifndef __TARGET_ARCH_x86
#error "only x86-64 is supported: the registers of a system call and the compat flag differ elsewhere"
#endif

#define TS_COMPAT 2
#define PF_KTHREAD 0x00200000
#define S_IFMT 0170000
#define S_IFSOCK 0140000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_rss_stat___before_6_2 {
	atomic_long_t count[4];
};
struct mm_struct___before_6_2 {
	struct mm_rss_stat___before_6_2 rss_stat;
};
struct percpu_counter___6_2 {
	s64 count;
};
struct mm_struct___6_2 {
	struct percpu_counter___6_2 rss_stat[4];
};

struct kernfs_node___before_6_15 {
	struct kernfs_node *parent;
};
struct kernfs_node___6_15 {
	struct kernfs_node *__parent;
};

struct inode___before_6_6 {
	struct timespec64 i_ctime;
};
struct inode___6_6 {
	struct timespec64 __i_ctime;
};
struct inode___before_6_7 {
	struct timespec64 i_mtime;
};
struct inode___6_7 {
	struct timespec64 __i_mtime;
};
struct inode___6_11 {
	time64_t i_mtime_sec;
	time64_t i_ctime_sec;
	u32 i_mtime_nsec;
	u32 i_ctime_nsec;
};

#pragma clang attribute pop

// -- the system call

// Argument i of the system call; at its exit the registers of the arguments still hold what they held.
static __always_inline u64 argument(struct pt_regs *regs, u32 i)
{
	switch (i) {
	case 0: return regs->di;
	case 1: return regs->si;
	case 2: return regs->dx;
	case 3: return regs->r10;
	case 4: return regs->r8;
	default: return regs->r9;
	}
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

// -- tasks

static __always_inline s64 pid_in_init(struct pid *pid)
{
	return BPF_CORE_READ(pid, numbers[0].nr);
}

// The number that a pid has in the namespace at `level`; the kernel gives 0 where the pid is not in it.
static __always_inline s64 pid_at_level(struct pid *pid, u32 level)
{
	struct upid upid = {};
	bpf_core_read(&upid, sizeof(upid), &pid->numbers[level]);
	return upid.nr;
}

static __always_inline u32 pid_level(struct task_struct *task)
{
	return BPF_CORE_READ(task, thread_pid, level);
}

static __always_inline u32 vm_size_kb(struct mm_struct *mm)
{
	return mm ? BPF_CORE_READ(mm, total_vm) << 2 : 0;
}

// Counter i: 0 file, 1 anonymous, 2 swapped, 3 shared memory pages. A macro, as the compiler records accesses before it
// inlines functions: there i would not be a constant.
#define MM_COUNTER(mm, i)                                                                       \
	({                                                                                      \
		struct mm_struct___before_6_2 *old_ = (void *)(mm);                             \
		struct mm_struct___6_2 *new_ = (void *)(mm);                                    \
		s64 pages_ = 0;                                                                 \
		if (bpf_core_field_exists(old_->rss_stat.count))                                \
			bpf_core_read(&pages_, sizeof(pages_), &old_->rss_stat.count[i]);       \
		else                                                                            \
			bpf_core_read(&pages_, sizeof(pages_), &new_->rss_stat[i].count);       \
		pages_ < 0 ? 0 : pages_;                                                        \
	})

static __always_inline u32 vm_rss_kb(struct mm_struct *mm)
{
	return mm ? (MM_COUNTER(mm, 0) + MM_COUNTER(mm, 1) + MM_COUNTER(mm, 3)) << 2 : 0;
}

static __always_inline u32 vm_swap_kb(struct mm_struct *mm)
{
	return mm ? MM_COUNTER(mm, 2) << 2 : 0;
}

// A device number as user space has it.
static __always_inline u32 encode_dev(u32 dev)
{
	u32 major = dev >> 20, minor = dev & 0xfffff;
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

// -- files

static __always_inline struct file *file_of(struct task_struct *task, s32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	if (fd < 0 || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	return file;
}

static __always_inline u32 dev_of(struct file *file)
{
	return encode_dev(BPF_CORE_READ(file, f_inode, i_sb, s_dev));
}

static __always_inline u64 ino_of(struct file *file)
{
	return BPF_CORE_READ(file, f_inode, i_ino);
}

// The socket behind an fd; NULL where it is none.
static __always_inline struct sock *sock_of(struct task_struct *task, s32 fd)
{
	struct file *file = file_of(task, fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline u64 mtime_ns(struct inode *inode)
{
	struct timespec64 t = {};
	struct inode___6_11 *split = (void *)inode;
	struct inode___6_7 *renamed = (void *)inode;
	struct inode___before_6_7 *old = (void *)inode;
	if (bpf_core_field_exists(split->i_mtime_sec)) {
		t.tv_sec = BPF_CORE_READ(split, i_mtime_sec);
		t.tv_nsec = BPF_CORE_READ(split, i_mtime_nsec);
	} else if (bpf_core_field_exists(renamed->__i_mtime)) {
		t = BPF_CORE_READ(renamed, __i_mtime);
	} else {
		t = BPF_CORE_READ(old, i_mtime);
	}
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// Since 6.13 the highest bit of the nanoseconds says that somebody has asked for the time.
static __always_inline u64 ctime_ns(struct inode *inode)
{
	struct timespec64 t = {};
	struct inode___6_11 *split = (void *)inode;
	struct inode___6_6 *renamed = (void *)inode;
	struct inode___before_6_6 *old = (void *)inode;
	if (bpf_core_field_exists(split->i_ctime_sec)) {
		t.tv_sec = BPF_CORE_READ(split, i_ctime_sec);
		t.tv_nsec = BPF_CORE_READ(split, i_ctime_nsec) & 0x7fffffff;
	} else if (bpf_core_field_exists(renamed->__i_ctime)) {
		t = BPF_CORE_READ(renamed, __i_ctime);
	} else {
		t = BPF_CORE_READ(old, i_ctime);
	}
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	struct kernfs_node___6_15 *new = (void *)node;
	struct kernfs_node___before_6_15 *old = (void *)node;
	if (bpf_core_field_exists(new->__parent))
		return BPF_CORE_READ(new, __parent);
	return BPF_CORE_READ(old, parent);
}
