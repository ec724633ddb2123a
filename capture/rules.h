// Which system call makes which event, and, for the plain ones, of what: the table that the programs work by.
#pragma once

#include <asm/unistd_64.h>

#include "maps.h"

// The program that a call's exit goes to: an index of `programs`. PLAIN puts together what the rule's parameters say.
enum program {
	TO_NONE,
	TO_PLAIN,
	TO_OPENAT2,
	TO_OPEN_BY_HANDLE,
	TO_VECTOR,
	TO_PAIR,
	TO_CLONE,
	TO_EXEC,
	TO_TUPLE,
	TO_MESSAGE,
	TO_MESSAGES,
	TO_SOCKOPT,
	PROGRAM_COUNT,
};

// What a parameter is made of. Where there is `a`, it is the number of the call's argument.
enum kind {
	K_NONE,      // nothing: length 0
	K_RES,       // the result
	K_S64,       // argument a, a signed 32-bit number, as 64 bits: fds, pids
	K_U8, K_U32, K_U64,  // argument a
	K_ZERO8,     // a byte 0: what the format has but no recorder fills
	K_ZERO32,
	K_STR,       // the string at argument a
	K_STR_IF_POSITIVE,  // the same if the result is above 0: what the kernel wrote there
	K_READ,      // bytes that were read to argument a
	K_WRITTEN,   // bytes that were written from argument a, or would have been: argument a + 1 of them
	K_OPEN_FLAGS,   // argument a
	K_OPEN_STATE,   // the same, and whether the file was created
	K_CREATED,      // only that, 16 bits
	K_OPEN_MODE,    // argument a, which counts with the flags of argument a - 1
	K_MODE,         // argument a
	K_DEV, K_INO,   // of the file that the result is an fd of
	K_VM_SIZE, K_VM_RSS, K_VM_SWAP,
	K_PROT, K_MMAP_FLAGS, K_CLONE_FLAGS, K_FCNTL, K_PTRACE,  // argument a, translated
	K_OPEN_FLAGS16,  // argument a, translated, 16 bits
	K_DYN64,         // PT_DYN with one byte, 0, that says that a 64-bit number follows: argument a
	K_AT32,          // the 32-bit number at argument (a & 7), (a >> 3) numbers on
	K_AT64,          // the 64-bit number at argument a; 0 where the pointer is null
	K_PRCTL_STR, K_PRCTL_INT,
	K_NONBLOCK,      // argument a: 1 where it has O_NONBLOCK
	K_SOCKET_FLAGS,  // argument a's SOCK_NONBLOCK and SOCK_CLOEXEC as PPM_O_
};

#define P(kind, a) ((K_##kind) | (a) << 8)
#define RES P(RES, 0)
#define FD(a) P(S64, a)
#define STR(a) P(STR, a)
#define U32(a) P(U32, a)

struct rule {
	u16 event;
	u8 program;
	u8 nparams;
	u16 params[10];
};

#define BY(program, code) {PPME_##code, program, NPARAMS_PPME_##code, {}}
#define OF(code, ...) {PPME_##code, TO_PLAIN, NPARAMS_PPME_##code, {__VA_ARGS__}}
#define VM P(VM_SIZE, 0), P(VM_RSS, 0), P(VM_SWAP, 0)

#define SYSCALLS 512

static const struct rule rules[SYSCALLS] = {
	// files
	[__NR_open] = OF(SYSCALL_OPEN_X, RES, STR(0), P(OPEN_STATE, 1), P(OPEN_MODE, 2), P(DEV, 0), P(INO, 0)),
	[__NR_openat] = OF(SYSCALL_OPENAT_2_X, RES, FD(0), STR(1), P(OPEN_STATE, 2), P(OPEN_MODE, 3), P(DEV, 0), P(INO, 0)),
	[__NR_openat2] = BY(TO_OPENAT2, SYSCALL_OPENAT2_X),
	[__NR_creat] = OF(SYSCALL_CREAT_X, RES, STR(0), P(MODE, 1), P(DEV, 0), P(INO, 0), P(CREATED, 0)),
	[__NR_open_by_handle_at] = BY(TO_OPEN_BY_HANDLE, SYSCALL_OPEN_BY_HANDLE_AT_X),
	[__NR_close] = OF(SYSCALL_CLOSE_X, RES, FD(0)),
	[__NR_close_range] = OF(SYSCALL_CLOSE_RANGE_X, RES, U32(0), U32(1), U32(2)),
	[__NR_read] = OF(SYSCALL_READ_X, RES, P(READ, 1), FD(0), U32(2)),
	[__NR_write] = OF(SYSCALL_WRITE_X, RES, P(WRITTEN, 1), FD(0), U32(2)),
	[__NR_pread64] = OF(SYSCALL_PREAD_X, RES, P(READ, 1), FD(0), U32(2), P(U64, 3)),
	[__NR_pwrite64] = OF(SYSCALL_PWRITE_X, RES, P(WRITTEN, 1), FD(0), U32(2), P(U64, 3)),
	[__NR_readv] = BY(TO_VECTOR, SYSCALL_READV_X),
	[__NR_writev] = BY(TO_VECTOR, SYSCALL_WRITEV_X),
	[__NR_preadv] = BY(TO_VECTOR, SYSCALL_PREADV_X),
	[__NR_pwritev] = BY(TO_VECTOR, SYSCALL_PWRITEV_X),
	[__NR_preadv2] = BY(TO_VECTOR, SYSCALL_PREADV_X),
	[__NR_pwritev2] = BY(TO_VECTOR, SYSCALL_PWRITEV_X),
	[__NR_sendfile] = OF(SYSCALL_SENDFILE_X, RES, P(AT64, 2), FD(0), FD(1), P(U64, 3)),
	[__NR_splice] = OF(SYSCALL_SPLICE_X, RES, FD(0), FD(2), P(U64, 4), U32(5)),
	[__NR_copy_file_range] = OF(SYSCALL_COPY_FILE_RANGE_X, RES, FD(2), P(AT64, 3), FD(0), P(AT64, 1), P(U64, 4)),
	[__NR_mmap] = OF(SYSCALL_MMAP_X, RES, VM, P(U64, 0), P(U64, 1), P(PROT, 2), P(MMAP_FLAGS, 3), FD(4), P(U64, 5)),
	[__NR_munmap] = OF(SYSCALL_MUNMAP_X, RES, VM, P(U64, 0), P(U64, 1)),
	[__NR_dup] = OF(SYSCALL_DUP_1_X, RES, FD(0)),
	[__NR_dup2] = OF(SYSCALL_DUP2_X, RES, FD(0), FD(1)),
	[__NR_dup3] = OF(SYSCALL_DUP3_X, RES, FD(0), FD(1), P(OPEN_FLAGS, 2)),
	[__NR_fcntl] = OF(SYSCALL_FCNTL_X, RES, FD(0), P(FCNTL, 1), P(U64, 2)),
	[__NR_rename] = OF(SYSCALL_RENAME_X, RES, STR(0), STR(1)),
	[__NR_renameat] = OF(SYSCALL_RENAMEAT_X, RES, FD(0), STR(1), FD(2), STR(3)),
	[__NR_renameat2] = OF(SYSCALL_RENAMEAT2_X, RES, FD(0), STR(1), FD(2), STR(3), U32(4)),
	[__NR_link] = OF(SYSCALL_LINK_2_X, RES, STR(0), STR(1)),
	[__NR_linkat] = OF(SYSCALL_LINKAT_2_X, RES, FD(0), STR(1), FD(2), STR(3), U32(4)),
	[__NR_symlink] = OF(SYSCALL_SYMLINK_X, RES, STR(0), STR(1)),
	[__NR_symlinkat] = OF(SYSCALL_SYMLINKAT_X, RES, STR(0), FD(1), STR(2)),
	[__NR_unlink] = OF(SYSCALL_UNLINK_2_X, RES, STR(0)),
	[__NR_unlinkat] = OF(SYSCALL_UNLINKAT_2_X, RES, FD(0), STR(1), U32(2)),
	[__NR_mkdir] = OF(SYSCALL_MKDIR_2_X, RES, STR(0), U32(1)),
	[__NR_mkdirat] = OF(SYSCALL_MKDIRAT_X, RES, FD(0), STR(1), U32(2)),
	[__NR_rmdir] = OF(SYSCALL_RMDIR_2_X, RES, STR(0)),
	[__NR_mknod] = OF(SYSCALL_MKNOD_X, RES, STR(0), U32(1), U32(2)),
	[__NR_mknodat] = OF(SYSCALL_MKNODAT_X, RES, FD(0), STR(1), U32(2), U32(3)),
	[__NR_chmod] = OF(SYSCALL_CHMOD_X, RES, STR(0), P(MODE, 1)),
	[__NR_fchmod] = OF(SYSCALL_FCHMOD_X, RES, FD(0), P(MODE, 1)),
	[__NR_fchmodat] = OF(SYSCALL_FCHMODAT_X, RES, FD(0), STR(1), P(MODE, 2)),
	[__NR_chown] = OF(SYSCALL_CHOWN_X, RES, STR(0), U32(1), U32(2)),
	[__NR_lchown] = OF(SYSCALL_LCHOWN_X, RES, STR(0), U32(1), U32(2)),
	[__NR_fchown] = OF(SYSCALL_FCHOWN_X, RES, FD(0), U32(1), U32(2)),
	[__NR_fchownat] = OF(SYSCALL_FCHOWNAT_X, RES, FD(0), STR(1), U32(2), U32(3), U32(4)),
	[__NR_mount] = OF(SYSCALL_MOUNT_X, RES, STR(0), STR(1), STR(2), U32(3)),
	[__NR_umount2] = OF(SYSCALL_UMOUNT2_X, RES, STR(0), U32(1)),

	// other things with fds
	[__NR_pipe] = BY(TO_PAIR, SYSCALL_PIPE_X),
	[__NR_pipe2] = BY(TO_PAIR, SYSCALL_PIPE2_X),
	[__NR_memfd_create] = OF(SYSCALL_MEMFD_CREATE_X, RES, STR(0), U32(1)),
	[__NR_eventfd] = OF(SYSCALL_EVENTFD_X, RES, P(U64, 0), P(ZERO32, 0)),
	[__NR_eventfd2] = OF(SYSCALL_EVENTFD2_X, RES, P(OPEN_FLAGS16, 1), P(U64, 0)),
	[__NR_timerfd_create] = OF(SYSCALL_TIMERFD_CREATE_X, RES, P(U8, 0), P(ZERO8, 0)),
	[__NR_signalfd] = OF(SYSCALL_SIGNALFD_X, RES, FD(0), P(ZERO32, 0), P(ZERO8, 0)),
	[__NR_signalfd4] = OF(SYSCALL_SIGNALFD4_X, RES, P(OPEN_FLAGS16, 3), FD(0), P(ZERO32, 0)),
	[__NR_inotify_init] = OF(SYSCALL_INOTIFY_INIT_X, RES, P(ZERO8, 0)),
	[__NR_inotify_init1] = OF(SYSCALL_INOTIFY_INIT1_X, RES, P(OPEN_FLAGS16, 0)),
	[__NR_epoll_create] = OF(SYSCALL_EPOLL_CREATE_X, RES, U32(0)),
	[__NR_epoll_create1] = OF(SYSCALL_EPOLL_CREATE1_X, RES, P(OPEN_FLAGS, 0)),
	[__NR_userfaultfd] = OF(SYSCALL_USERFAULTFD_X, RES, P(OPEN_FLAGS, 0)),
	[__NR_bpf] = OF(SYSCALL_BPF_2_X, RES, U32(0)),
	[__NR_pidfd_open] = OF(SYSCALL_PIDFD_OPEN_X, RES, FD(0), P(NONBLOCK, 1)),
	[__NR_pidfd_getfd] = OF(SYSCALL_PIDFD_GETFD_X, RES, FD(0), FD(1), U32(2)),
	[__NR_io_uring_setup] = OF(SYSCALL_IO_URING_SETUP_X, RES, U32(0), P(AT32, 1), P(AT32, 1 | 1 << 3), P(AT32, 1 | 2 << 3),
				   P(AT32, 1 | 3 << 3), P(AT32, 1 | 4 << 3), P(AT32, 1 | 5 << 3)),

	// processes
	[__NR_clone] = BY(TO_CLONE, SYSCALL_CLONE_20_X),
	[__NR_fork] = BY(TO_CLONE, SYSCALL_FORK_20_X),
	[__NR_vfork] = BY(TO_CLONE, SYSCALL_VFORK_20_X),
	[__NR_clone3] = BY(TO_CLONE, SYSCALL_CLONE3_X),
	[__NR_execve] = BY(TO_EXEC, SYSCALL_EXECVE_19_X),
	[__NR_execveat] = BY(TO_EXEC, SYSCALL_EXECVEAT_X),
	[__NR_setuid] = OF(SYSCALL_SETUID_X, RES, U32(0)),
	[__NR_setgid] = OF(SYSCALL_SETGID_X, RES, U32(0)),
	[__NR_setreuid] = OF(SYSCALL_SETREUID_X, RES, U32(0), U32(1)),
	[__NR_setregid] = OF(SYSCALL_SETREGID_X, RES, U32(0), U32(1)),
	[__NR_setresuid] = OF(SYSCALL_SETRESUID_X, RES, U32(0), U32(1), U32(2)),
	[__NR_setresgid] = OF(SYSCALL_SETRESGID_X, RES, U32(0), U32(1), U32(2)),
	[__NR_setns] = OF(SYSCALL_SETNS_X, RES, FD(0), P(CLONE_FLAGS, 1)),
	[__NR_unshare] = OF(SYSCALL_UNSHARE_X, RES, P(CLONE_FLAGS, 0)),
	[__NR_chdir] = OF(SYSCALL_CHDIR_X, RES, STR(0)),
	[__NR_fchdir] = OF(SYSCALL_FCHDIR_X, RES, FD(0)),
	[__NR_getcwd] = OF(SYSCALL_GETCWD_X, RES, P(STR_IF_POSITIVE, 0)),
	[__NR_chroot] = OF(SYSCALL_CHROOT_X, RES, STR(0)),
	[__NR_setpgid] = OF(SYSCALL_SETPGID_X, RES, FD(0), FD(1)),
	[__NR_setsid] = OF(SYSCALL_SETSID_X, RES),
	[__NR_prctl] = OF(SYSCALL_PRCTL_X, RES, U32(0), P(PRCTL_STR, 1), P(PRCTL_INT, 1)),
	[__NR_ptrace] = OF(SYSCALL_PTRACE_X, RES, P(DYN64, 2), P(DYN64, 3), P(PTRACE, 0), FD(1)),
	[__NR_kill] = OF(SYSCALL_KILL_X, RES, FD(0), P(U8, 1)),
	[__NR_tkill] = OF(SYSCALL_TKILL_X, RES, FD(0), P(U8, 1)),
	[__NR_tgkill] = OF(SYSCALL_TGKILL_X, RES, FD(0), FD(1), P(U8, 2)),

	// network
	[__NR_socket] = OF(SOCKET_SOCKET_X, RES, U32(0), U32(1), U32(2), P(SOCKET_FLAGS, 1)),
	[__NR_socketpair] = BY(TO_PAIR, SOCKET_SOCKETPAIR_X),
	[__NR_bind] = BY(TO_TUPLE, SOCKET_BIND_X),
	[__NR_listen] = OF(SOCKET_LISTEN_X, RES, FD(0), U32(1)),
	[__NR_connect] = BY(TO_TUPLE, SOCKET_CONNECT_X),
	[__NR_accept] = BY(TO_TUPLE, SOCKET_ACCEPT_5_X),
	[__NR_accept4] = BY(TO_TUPLE, SOCKET_ACCEPT4_6_X),
	[__NR_sendto] = BY(TO_TUPLE, SOCKET_SENDTO_X),
	[__NR_recvfrom] = BY(TO_TUPLE, SOCKET_RECVFROM_X),
	[__NR_sendmsg] = BY(TO_MESSAGE, SOCKET_SENDMSG_X),
	[__NR_recvmsg] = BY(TO_MESSAGE, SOCKET_RECVMSG_X),
	[__NR_sendmmsg] = BY(TO_MESSAGES, SOCKET_SENDMMSG_X),
	[__NR_recvmmsg] = BY(TO_MESSAGES, SOCKET_RECVMMSG_X),
	[__NR_shutdown] = OF(SOCKET_SHUTDOWN_X, RES, FD(0), P(U8, 1)),
	[__NR_getsockopt] = BY(TO_SOCKOPT, SOCKET_GETSOCKOPT_X),
	[__NR_setsockopt] = BY(TO_SOCKOPT, SOCKET_SETSOCKOPT_X),
};
