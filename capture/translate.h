// The kernel's flags in the numbering of the capture format (PPM_, see tables.py): without branches where they are bits.
#pragma once

#include "maps.h"

// Bits `from` of v as bits `to`; both are powers of two.
#define BIT_AS(v, from, to) \
	((u32)((u64)(from) < (u64)(to) ? ((v) & (from)) * ((to) / (from) ?: 1) : ((v) & (from)) / ((from) / (to) ?: 1)))

#define O_CREAT 0100
#define O_TMPFILE 020200000
#define O_SYNC 04010000

static __always_inline u32 open_flags(u64 f)
{
	u32 out = (f & 3) == 3 ? 0 : (f & 3) + 1;
	out |= BIT_AS(f, 0100, PPM_O_CREAT) | BIT_AS(f, 0200, PPM_O_EXCL) | BIT_AS(f, 01000, PPM_O_TRUNC);
	out |= BIT_AS(f, 02000, PPM_O_APPEND) | BIT_AS(f, 04000, PPM_O_NONBLOCK) | BIT_AS(f, 010000, PPM_O_DSYNC);
	out |= BIT_AS(f, 04000000, PPM_O_SYNC) | BIT_AS(f, 040000, PPM_O_DIRECT) | BIT_AS(f, 0100000, PPM_O_LARGEFILE);
	out |= BIT_AS(f, 0200000, PPM_O_DIRECTORY) | BIT_AS(f, 02000000, PPM_O_CLOEXEC);
	out |= BIT_AS(f, 020000000, PPM_O_TMPFILE);
	return out;
}

// Only with these flags does open look at the mode.
static __always_inline u32 open_mode(u64 flags, u64 mode)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? mode & 07777 : 0;
}

static __always_inline u32 resolve_flags(u64 f)
{
	return BIT_AS(f, 1, PPM_RESOLVE_NO_XDEV) | BIT_AS(f, 2, PPM_RESOLVE_NO_MAGICLINKS) |
	       BIT_AS(f, 4, PPM_RESOLVE_NO_SYMLINKS) | BIT_AS(f, 8, PPM_RESOLVE_BENEATH) |
	       BIT_AS(f, 16, PPM_RESOLVE_IN_ROOT) | BIT_AS(f, 32, PPM_RESOLVE_CACHED);
}

static __always_inline u32 clone_flags(u64 f)
{
	return BIT_AS(f, 0x100, PPM_CL_CLONE_VM) | BIT_AS(f, 0x200, PPM_CL_CLONE_FS) |
	       BIT_AS(f, 0x400, PPM_CL_CLONE_FILES) | BIT_AS(f, 0x800, PPM_CL_CLONE_SIGHAND) |
	       BIT_AS(f, 0x2000, PPM_CL_CLONE_PTRACE) | BIT_AS(f, 0x4000, PPM_CL_CLONE_VFORK) |
	       BIT_AS(f, 0x8000, PPM_CL_CLONE_PARENT) | BIT_AS(f, 0x10000, PPM_CL_CLONE_THREAD) |
	       BIT_AS(f, 0x20000, PPM_CL_CLONE_NEWNS) | BIT_AS(f, 0x40000, PPM_CL_CLONE_SYSVSEM) |
	       BIT_AS(f, 0x80000, PPM_CL_CLONE_SETTLS) | BIT_AS(f, 0x100000, PPM_CL_CLONE_PARENT_SETTID) |
	       BIT_AS(f, 0x200000, PPM_CL_CLONE_CHILD_CLEARTID) | BIT_AS(f, 0x800000, PPM_CL_CLONE_UNTRACED) |
	       BIT_AS(f, 0x1000000, PPM_CL_CLONE_CHILD_SETTID) | BIT_AS(f, 0x2000000, PPM_CL_CLONE_NEWCGROUP) |
	       BIT_AS(f, 0x4000000, PPM_CL_CLONE_NEWUTS) | BIT_AS(f, 0x8000000, PPM_CL_CLONE_NEWIPC) |
	       BIT_AS(f, 0x10000000, PPM_CL_CLONE_NEWUSER) | BIT_AS(f, 0x20000000, PPM_CL_CLONE_NEWPID) |
	       BIT_AS(f, 0x40000000, PPM_CL_CLONE_NEWNET) | BIT_AS(f, 0x80000000, PPM_CL_CLONE_IO);
}

// PPM_PROT_: 1, 2, 4 as the kernel's, then SEM, GROWSDOWN, GROWSUP.
static __always_inline u32 prot_flags(u64 f)
{
	return (f & 7) | BIT_AS(f, 8, 8) | BIT_AS(f, 0x01000000, 16) | BIT_AS(f, 0x02000000, 32);
}

static __always_inline u32 mmap_flags(u64 f)
{
	return BIT_AS(f, 1, PPM_MAP_SHARED) | BIT_AS(f, 2, PPM_MAP_PRIVATE) | BIT_AS(f, 0x10, PPM_MAP_FIXED) |
	       BIT_AS(f, 0x20, PPM_MAP_ANONYMOUS) | BIT_AS(f, 0x40, PPM_MAP_32BIT) |
	       BIT_AS(f, 0x4000, PPM_MAP_NORESERVE) | BIT_AS(f, 0x8000, PPM_MAP_POPULATE) |
	       BIT_AS(f, 0x10000, PPM_MAP_NONBLOCK) | BIT_AS(f, 0x100, PPM_MAP_GROWSDOWN) |
	       BIT_AS(f, 0x800, PPM_MAP_DENYWRITE) | BIT_AS(f, 0x1000, PPM_MAP_EXECUTABLE) |
	       BIT_AS(f, 0x2000, PPM_MAP_LOCKED);
}

// PPM_FCNTL_ by the kernel's command; those of 1024 and above follow in a second table.
static const u8 FCNTL_LOW[] = {1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 13, 15, 0, 0, 0, 21, 22};
static const u8 FCNTL_HIGH[] = {23, 24, 27, 0, 0, 25, 26, 28, 29};

static __always_inline u8 fcntl_command(u32 c)
{
	if (c < sizeof(FCNTL_LOW))
		return FCNTL_LOW[c];
	if (c >= 36 && c <= 38)  // F_OFD_GETLK, SETLK, SETLKW
		return c - 36 + 30;
	c -= 1024;
	return c < sizeof(FCNTL_HIGH) ? FCNTL_HIGH[c] : 0;
}

// PPM_PTRACE_ by the kernel's request, 0 to 24 and 0x4200 to 0x420b.
static const u8 PTRACE_LOW[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 26, 27, 28, 29, 11, 12, 30, 31, 0, 32, 0, 0, 13};
static const u8 PTRACE_HIGH[] = {14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25};

static __always_inline u16 ptrace_request(u64 r)
{
	if (r < sizeof(PTRACE_LOW))
		return PTRACE_LOW[r];
	r -= 0x4200;
	return r < sizeof(PTRACE_HIGH) ? PTRACE_HIGH[r] : 0;
}

#define SOL_SOCKET 1
#define SOL_TCP 6

static __always_inline u8 sockopt_level(u32 level)
{
	return level == SOL_SOCKET ? PPM_SOCKOPT_LEVEL_SOL_SOCKET : level == SOL_TCP ? PPM_SOCKOPT_LEVEL_SOL_TCP : 0;
}

// Only options of the socket level have numbers; up to SO_ATTACH_BPF they are the kernel's own.
static __always_inline u8 sockopt_name(u32 level, u32 name)
{
	if (level != SOL_SOCKET)
		return 0;
	if (name <= 50)
		return name;
	return name == 55 ? PPM_SOCKOPT_SO_MEMINFO : name == 57 ? PPM_SOCKOPT_SO_COOKIE :
	       name == 59 ? PPM_SOCKOPT_SO_PEERGROUPS : 0;
}
