// The kernel half of sysporter's live capture: every exit of a system call that rules.h names, and every exit of a task,
// becomes an event of the capture format in one ring buffer. For kernel 5.8 and newer with BTF (x86-64): loops are
// bounded, and what changed between releases is asked of the running kernel's BTF (kernel.h).
//
// There is one program at the tracepoint, sys_exit; it looks whether the call is recorded and hands over to the program
// that knows how to describe it.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "files.bpf.h"
#include "filter.h"
#include "network.bpf.h"
#include "plain.bpf.h"
#include "process.bpf.h"
#include "rules.h"

char LICENSE[] SEC("license") = "GPL";  // the helpers that read memory ask for it

// Where the dispatcher hands over: by enum program.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, PROGRAM_COUNT);
	__type(key, u32);
	__array(values, int(void *));
} programs SEC(".maps") = {
	.values = {
		[TO_PLAIN] = (void *)&plain,
		[TO_OPENAT2] = (void *)&openat2,
		[TO_OPEN_BY_HANDLE] = (void *)&open_by_handle,
		[TO_VECTOR] = (void *)&vector,
		[TO_PAIR] = (void *)&pair,
		[TO_CLONE] = (void *)&clone,
		[TO_EXEC] = (void *)&exec,
		[TO_TUPLE] = (void *)&tuple,
		[TO_MESSAGE] = (void *)&message,
		[TO_MESSAGES] = (void *)&messages,
		[TO_SOCKOPT] = (void *)&sockopt,
	},
};

// Numbers of other kinds of system calls: execve's of i386, and what x32's have in common.
#define IA32_EXECVE 11
#define X32 0x40000000

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	u64 number = regs->orig_ax;
	if (number >= SYSCALLS) {
		if (number & X32 && (s64)number > 0 && wanted(bpf_get_current_pid_tgid() >> 32))
			COUNT(compat);
		return 0;
	}
	// The numbers of 32-bit calls mean other calls; but a 64-bit exec of a 32-bit program ends as one too.
	if (BPF_CORE_READ(current_task(), thread_info.status) & TS_COMPAT) {
		if (!wanted(bpf_get_current_pid_tgid() >> 32))
			return 0;
		if (number != IA32_EXECVE || ret != 0) {
			COUNT(compat);
			return 0;
		}
		number = __NR_execve;
	}
	const struct rule *rule = &rules[number & (SYSCALLS - 1)];
	if (rule->program == TO_NONE || !recorded(rule->event) || !wanted(bpf_get_current_pid_tgid() >> 32))
		return 0;
	bpf_tail_call(ctx, &programs, rule->program);
	return 0;
}
