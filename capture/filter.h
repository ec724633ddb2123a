// What is recorded at all. A filter that is off costs nothing: the verifier removes what the settings make unreachable.
#pragma once

#include "emit.h"
#include "kernel.h"

static __always_inline bool recorded(u32 event)
{
	if (!(settings.events[(event >> 6) & 7] >> (event & 63) & 1))
		return false;
	if (settings.sample_ns && settings.sampled[(event >> 6) & 7] >> (event & 63) & 1 &&
	    (bpf_ktime_get_boot_ns() + settings.boot_epoch_ns) % 1000000000 >= settings.sample_ns) {
		COUNT(sampled_out);
		return false;
	}
	return true;
}

// A container's processes are in its cgroup or below it.
#define CGROUP_LEVELS 8

static __always_inline bool in_cgroups(void)
{
	struct css_set *set = BPF_CORE_READ(current_task(), cgroups);
	struct cgroup *group = NULL;
	if (settings.hierarchy == UNIFIED) {
		group = BPF_CORE_READ(set, dfl_cgrp);
	} else {
		struct cgroup_subsys_state *css = NULL;
		u64 memory = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
		u64 pids = bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id);
		opaque(memory);  // else clang 14 chooses between what stands for the numbers before they are filled in
		opaque(pids);
		u64 subsys = settings.hierarchy == MEMORY ? memory : pids;
		bpf_core_read(&css, sizeof(css), &set->subsys[subsys & 31]);
		group = BPF_CORE_READ(css, cgroup);
	}
	struct kernfs_node *node = BPF_CORE_READ(group, kn);
	for (u32 i = 0; i < CGROUP_LEVELS && node; i++) {
		u64 id = BPF_CORE_READ(node, id);
		if (bpf_map_lookup_elem(&cgroups, &id))
			return true;
		node = kernfs_parent(node);
	}
	return false;
}

// Is the current task recorded? Each filter that is on must let it pass.
static __always_inline bool wanted(u32 tgid)
{
	if (tgid == settings.self)
		return false;
	if (settings.by_tgid && !bpf_map_lookup_elem(&tgids, &tgid))
		return false;
	if (settings.by_comm) {
		struct comm comm = {};
		bpf_get_current_comm(&comm, sizeof(comm));
		if (!bpf_map_lookup_elem(&comms, &comm))
			return false;
	}
	return !settings.by_cgroup || in_cgroups();
}

// Whether a task may leave what is recorded before it ends: then `begun` has those whose beginning was recorded.
static __always_inline bool may_leave(void)
{
	return settings.by_comm || settings.by_cgroup || (settings.by_tgid && !settings.follow);
}

static __always_inline void note_beginning(u32 tid)
{
	u8 yes = 1;
	if (may_leave())
		bpf_map_update_elem(&begun, &tid, &yes, BPF_ANY);
}
