// Data that lies in several pieces (struct iovec).
#pragma once

#include "emit.h"

// Pieces that are looked at. IOV_MAX is 1024; data beyond is not recorded, and does not count in the size.
#define PIECES 64

static __always_inline u64 vector_size(u64 vector, u64 count)
{
	u64 total = 0;
	for (u32 i = 0; i < PIECES; i++) {
		struct iovec piece = {};
		if (i >= count || bpf_probe_read_user(&piece, sizeof(piece), (void *)(vector + i * sizeof(piece))))
			break;
		total += piece.iov_len;
	}
	return total;
}

// The first bytes, `available` and snaplen of them at most, as one parameter.
static __always_inline void put_vector(struct scratch *s, u64 vector, u64 count, u64 available)
{
	u64 most = available < settings.snaplen ? available : settings.snaplen;
	s->step = 0;
	for (u32 i = 0; i < PIECES; i++) {
		struct iovec piece = {};
		u64 size = s->step;
		if (i >= count || size >= most || size > PARAM_MAX)
			break;
		if (bpf_probe_read_user(&piece, sizeof(piece), (void *)(vector + i * sizeof(piece)))) {
			COUNT(unread);
			break;
		}
		u64 part = most - size;
		if (piece.iov_len < part)
			part = piece.iov_len;
		opaque(part);
		part &= PARAM_MAX;
		if (part && bpf_probe_read_user(room(s) + size, part, piece.iov_base)) {
			COUNT(unread);
			break;
		}
		s->step = size + part;
		asm volatile("" ::: "memory");
	}
	put(s, s->step < PARAM_MAX ? s->step : PARAM_MAX);
}
