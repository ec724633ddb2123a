// Paths as the kernel knows them: of files and of cgroups.
#pragma once

#include "emit.h"
#include "kernel.h"

// A path that is deeper is cut: its beginning is missing.
#define PATH_DEPTH 64
#define CGROUP_DEPTH 16

// Puts a slash and `name` before what scratch->path holds. Where it begins is kept in memory, not in a register: else the
// verifier would follow every possible length of every component.
static __always_inline void prepend(struct scratch *s, const void *name, u32 size)
{
	u32 at = s->path_at;
	size &= NAME_MAX;
	if (at > size && at <= PATH_MAX) {
		at = (at - size - 1) & (PATH_MAX - 1);
		s->path[at] = '/';
		bpf_probe_read_kernel(s->path + at + 1, size, name);
		s->path_at = at;
	}
	asm volatile("" ::: "memory");
}

// The path that was put together, as bytes with a NUL at p; returns their number. Without a component it is the root.
static __always_inline u32 take_path(struct scratch *s, u8 *p)
{
	u32 at = s->path_at & (2 * PATH_MAX - 1);
	if (at >= PATH_MAX) {
		at = PATH_MAX - 1;
		s->path[at] = '/';
	}
	u64 size = PATH_MAX - at;
	opaque(size);
	size &= 2 * PATH_MAX - 1;
	bpf_probe_read_kernel(p, size, s->path + (at & (PATH_MAX - 1)));
	p[size] = 0;
	return size + 1;
}

// The path of a dentry from the process's root directory down, over mount points.
static __always_inline void put_path(struct scratch *s, struct task_struct *task, struct dentry *dentry,
				     struct vfsmount *vfsmount)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct dentry *root = BPF_CORE_READ(fs, root.dentry);
	struct vfsmount *root_mount = BPF_CORE_READ(fs, root.mnt);
	struct mount *mount = container_of(vfsmount, struct mount, mnt);

	s->path_at = PATH_MAX;
	for (u32 i = 0; i < PATH_DEPTH; i++) {
		opaque(dentry);
		opaque(mount);
		if (!dentry || (dentry == root && &mount->mnt == root_mount))
			break;
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
			struct mount *over = BPF_CORE_READ(mount, mnt_parent);
			if (over == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = over;
			continue;
		}
		prepend(s, BPF_CORE_READ(dentry, d_name.name), BPF_CORE_READ(dentry, d_name.len));
		dentry = parent;
	}
	put(s, take_path(s, room(s)));
}

static __always_inline void put_cwd(struct scratch *s, struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	put_path(s, task, BPF_CORE_READ(fs, pwd.dentry), BPF_CORE_READ(fs, pwd.mnt));
}

// A program that was never a file of a directory: made by memfd_create, called "memfd:...".
static __always_inline bool is_memfd(struct file *file)
{
	char name[6] = {};
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':' &&
	       BPF_CORE_READ(dentry, d_parent) == dentry;
}

// `name=path` of one cgroup at the end of the parameter that is being made; scratch->step is its size so far.
static __always_inline void add_cgroup(struct scratch *s, const char *name, u32 name_size, struct kernfs_node *node)
{
	s->path_at = PATH_MAX;
	for (u32 i = 0; i < CGROUP_DEPTH; i++) {
		opaque(node);
		struct kernfs_node *parent = node ? kernfs_parent(node) : NULL;
		if (!parent)
			break;
		// kernfs keeps no length: the name goes to the path buffer's other half first.
		long n = bpf_probe_read_kernel_str(s->path + PATH_MAX, NAME_MAX + 1, BPF_CORE_READ(node, name));
		if (n <= 1)
			break;
		prepend(s, s->path + PATH_MAX, n - 1);
		node = parent;
	}
	u64 size = s->step & (8 * PATH_MAX - 1);
	u8 *p = room(s) + size;
	for (u32 i = 0; i < name_size; i++)
		p[i] = name[i];
	s->step = size + name_size + take_path(s, p + name_size);
	asm volatile("" ::: "memory");
}

// Controllers by which containers are told. Where a controller belongs to version 2's one hierarchy, the path there is
// the task's: its own css may be an ancestor's.
#define ADD_CGROUP(id, name)                                                                                      \
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, id)) {                                              \
		struct cgroup_subsys_state *css = NULL;                                                           \
		bpf_core_read(&css, sizeof(css), &set->subsys[bpf_core_enum_value(enum cgroup_subsys_id, id)]);   \
		struct cgroup *group = BPF_CORE_READ(css, cgroup);                                                \
		if (group && BPF_CORE_READ(group, root) == unified_root)                                          \
			group = unified;                                                                          \
		if (group)                                                                                        \
			add_cgroup(s, name "=", sizeof(name "=") - 1, BPF_CORE_READ(group, kn));                  \
	}

static __always_inline void put_cgroups(struct scratch *s, struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(set, dfl_cgrp);
	struct cgroup_root *unified_root = BPF_CORE_READ(unified, root);
	s->step = 0;
	ADD_CGROUP(cpuset_cgrp_id, "cpuset")
	ADD_CGROUP(cpu_cgrp_id, "cpu")
	ADD_CGROUP(memory_cgrp_id, "memory")
	ADD_CGROUP(pids_cgrp_id, "pids")
	put(s, s->step);
}
