// An event from begin() over put_...() to submit(): a whole block of the capture format (EV_V2), so that the reader
// has only to copy it. Layout: sftools/scap/blocks.py; parameters are written in the order of the event's table row.
#pragma once

#include "maps.h"

#define BLOCK_EV_V2 0x216
#define AT_BLOCK_TYPE 0
#define AT_BLOCK_LENGTH 4
#define AT_CPU 8
#define AT_TIME 10
#define AT_TID 18
#define AT_LENGTH 26
#define AT_TYPE 30
#define AT_NPARAMS 32
#define AT_LENGTHS 36

// A value that the compiler may not reason about: so the comparison after it stays, which the verifier needs.
#define opaque(v) asm volatile("" : "+r"(v))
#define AS(type, place) (*(type *)(place))

static __always_inline u64 now(void)
{
	return settings.boot_epoch_ns + bpf_ktime_get_boot_ns();
}

static __always_inline struct scratch *scratch(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&scratches, &cpu);
}

static __always_inline void head(u8 *block, u64 ts, u32 type, u32 nparams)
{
	AS(u32, block + AT_BLOCK_TYPE) = BLOCK_EV_V2;
	AS(u16, block + AT_CPU) = bpf_get_smp_processor_id();
	AS(u64, block + AT_TIME) = ts;
	AS(u64, block + AT_TID) = (u32)bpf_get_current_pid_tgid();
	AS(u16, block + AT_TYPE) = type;
	AS(u32, block + AT_NPARAMS) = nparams;
}

// Begins an event; NULL where there is no room to make one in.
static __always_inline struct scratch *begin(u32 type, u32 nparams)
{
	struct scratch *s = scratch();
	if (!s)
		return NULL;
	head(s->data, now(), type, nparams);
	s->length_at = AT_LENGTHS;
	s->at = AT_LENGTHS + 2 * nparams;
	return s;
}

// Where the next parameter's bytes go, PARAM_MAX of them at most. In an event that is too long this is anywhere:
// submit() drops it.
static __always_inline u8 *room(struct scratch *s)
{
	return s->data + (s->at & START_MAX);
}

// The next parameter has `size` bytes.
static __always_inline void put(struct scratch *s, u32 size)
{
	AS(u16, s->data + (s->length_at & 127)) = size;
	s->length_at += 2;
	s->at += size;
	// Whatever was written, the program goes on in the same state: else the verifier follows every combination.
	asm volatile("" ::: "memory");
}

#define PUT(s, type, value)               \
	({                                \
		AS(type, room(s)) = value; \
		put(s, sizeof(type));     \
	})

static __always_inline void put_u64(struct scratch *s, u64 v) { PUT(s, u64, v); }
static __always_inline void put_s64(struct scratch *s, s64 v) { PUT(s, u64, v); }
static __always_inline void put_u32(struct scratch *s, u32 v) { PUT(s, u32, v); }
static __always_inline void put_u16(struct scratch *s, u16 v) { PUT(s, u16, v); }
static __always_inline void put_u8(struct scratch *s, u8 v) { PUT(s, u8, v); }
static __always_inline void put_none(struct scratch *s) { put(s, 0); }

// A string of the process, with its NUL; none where it cannot be read.
static __always_inline void put_user_str(struct scratch *s, const void *from, u32 limit)
{
	u8 *p = room(s);
	long n = 0;
	if (from) {
		n = bpf_probe_read_user_str(p, limit, from);
		if (n < 0) {
			COUNT(unread);
			n = 0;
		}
	}
	put(s, n);
}

static __always_inline void put_kernel_str(struct scratch *s, const void *from, u32 limit)
{
	u8 *p = room(s);
	long n = from ? bpf_probe_read_kernel_str(p, limit, from) : 0;
	put(s, n < 0 ? 0 : n);
}

// Bytes of the process.
static __always_inline void put_user(struct scratch *s, const void *from, u64 size)
{
	u8 *p = room(s);
	if (size > PARAM_MAX)
		size = PARAM_MAX;
	u32 n = size;
	opaque(n);
	n &= PARAM_MAX;
	if (n && bpf_probe_read_user(p, n, from)) {
		COUNT(unread);
		n = 0;
	}
	put(s, n);
}

// A 48-byte mark that events are missing (PPME_DROP_E) or come again (PPME_DROP_X). The ratio is that of sampling: 1.
#define MARK_SIZE 48

static __always_inline void drop_mark(u8 *block, u32 type, u64 ts)
{
	head(block, ts, type, 1);
	AS(u32, block + AT_BLOCK_LENGTH) = MARK_SIZE;
	AS(u32, block + AT_LENGTH) = 42 - AT_TIME;
	AS(u16, block + AT_LENGTHS) = 4;
	AS(u32, block + AT_LENGTHS + 2) = 1;
	AS(u16, block + 42) = 0;
	AS(u32, block + 44) = MARK_SIZE;
}

// Both marks or none: where there is room for one only, the gap goes on.
static __always_inline bool mark_drops(u64 from, u64 to)
{
	u8 *begin = bpf_ringbuf_reserve(&ring, MARK_SIZE, 0);
	if (!begin)
		return false;
	u8 *end = bpf_ringbuf_reserve(&ring, MARK_SIZE, 0);
	if (!end) {
		bpf_ringbuf_discard(begin, BPF_RB_NO_WAKEUP);
		return false;
	}
	drop_mark(begin, PPME_DROP_E, from);
	drop_mark(end, PPME_DROP_X, to);
	bpf_ringbuf_submit(begin, BPF_RB_NO_WAKEUP);
	bpf_ringbuf_submit(end, BPF_RB_NO_WAKEUP);
	return true;
}

// The event is whole: to the ring with it. The reader is woken only when much waits: it looks by itself now and then.
static __always_inline void submit(struct scratch *s)
{
	u64 end = s->at;
	opaque(end);
	if (end > START_MAX) {
		COUNT(too_large);
		return;
	}
	u64 total = (end + 7) & ~3ull;
	AS(u32, s->data + end) = 0;
	AS(u32, s->data + AT_LENGTH) = end - AT_TIME;
	AS(u32, s->data + AT_BLOCK_LENGTH) = total;
	opaque(total);
	if (total > START_MAX + 8)
		return;
	AS(u32, s->data + total - 4) = total;
	if (s->lost_since) {
		if (!mark_drops(s->lost_since, AS(u64, s->data + AT_TIME))) {
			COUNT(ring_full);
			return;
		}
		s->lost_since = 0;
	}
	u64 waits = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	// Every event past the mark would wake once more; those of the first 64 KiB are enough.
	u64 flags = waits - settings.wake_bytes < 65536 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(&ring, s->data, total, flags)) {
		COUNT(ring_full);
		s->lost_since = AS(u64, s->data + AT_TIME);
	}
}
