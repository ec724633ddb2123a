// What the programs share with the loader: settings, filters, the ring, counters. sftools/live/loader.py mirrors
// struct sysflow_settings and struct counters: a change here is a change there.
#pragma once

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "scap.h"

// Set by the loader before the programs are verified, so that what is switched off costs nothing.
struct sysflow_settings {
	u64 boot_epoch_ns;  // CLOCK_REALTIME when CLOCK_BOOTTIME was 0
	u64 events[8];      // a bit for each event id (PPME_): recorded or not
	u64 sampled[8];     // a bit for each that is recorded only in the first sample_ns of each second
	u64 sample_ns;
	u32 self;           // tgid of the capturing process: it would feed on itself
	u32 snaplen;        // bytes of I/O data per event
	u32 wake_bytes;     // wake the reader when so much waits
	u32 hierarchy;      // whose ids `cgroups` holds: enum hierarchy
	u8 by_tgid;
	u8 follow;          // with by_tgid: children of recorded processes too
	u8 by_comm;
	u8 by_cgroup;
	u8 unused[4];
};
enum hierarchy { UNIFIED, MEMORY, PIDS };

const volatile struct sysflow_settings settings SEC(".rodata.settings") = {};

// Per CPU: what did not get through, by reason.
struct counters {
	u64 ring_full;    // events lost: the reader was too slow
	u64 too_large;    // events lost: longer than the scratch buffer
	u64 unread;       // parameters left empty: the process's memory could not be read
	u64 compat;       // 32-bit system calls: not recorded
	u64 sampled_out;  // events outside of the part of each second that is recorded
	u64 unfollowed;   // processes that are not recorded, though their parents are: there are too many
	u64 truncated;    // messages of sendmmsg and recvmmsg beyond those that one call's events can have
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counters);
} counters SEC(".maps");

#define COUNT(name) COUNT_MANY(name, 1)
#define COUNT_MANY(name, n)                                                     \
	({                                                                      \
		u32 zero_ = 0;                                                  \
		struct counters *c_ = bpf_map_lookup_elem(&counters, &zero_);   \
		if (c_)                                                         \
			c_->name += (n);                                            \
	})

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);  // the loader sets the real size
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, u32);
	__type(value, u8);
} tgids SEC(".maps");

// With filters by name or cgroup, and of processes without their children, a task may end that is not recorded any more,
// though its beginning was: so that its end is too. By tid; with too many the oldest are forgotten.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);  // the loader makes it larger where it is used
	__type(key, u32);
	__type(value, u8);
} begun SEC(".maps");

struct comm {
	char name[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct comm);
	__type(value, u8);
} comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} cgroups SEC(".maps");

// Where an event is put together. A parameter may begin up to START_MAX, and be up to PARAM_MAX long; what is made of
// pieces may begin a piece as far in again. So a mask for each bound is all that the verifier needs.
#define START_MAX 0x1ffff
#define PARAM_MAX 0xffff
#define PATH_MAX 4096
#define NAME_MAX 255

struct scratch {
	u32 at;           // where the next parameter begins in data
	u32 length_at;    // where its length belongs
	u64 lost_since;   // time of the first event that the ring had no room for, 0 where none is missing
	u32 step;         // of what is made in steps: how far it is
	u32 path_at;      // where the path in path[] begins
	u32 message;      // of a call that makes several events: which is next
	u32 unused;
	u64 args[8];      // the system call's arguments
	u8 address[128];  // an address that the call was given (struct address)
	u8 path[2 * PATH_MAX];  // a path, made from its end
	u8 data[START_MAX + 1 + 2 * (PARAM_MAX + 1)];
};

// One per CPU: an array with that many elements, as a per-CPU map's values are limited to 32 KiB. Tracepoints run with
// preemption disabled, and none of ours interrupts another.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);  // the loader sets the number of CPUs
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");
