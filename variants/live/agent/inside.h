/* What an instrumented KVM (kernel/inside.c) and the agent share: a page or more, by mmap. */
#ifndef INSIDE_H
#define INSIDE_H

#include <linux/types.h>

#define INSIDE_ROOM (64 << 10)
#define INSIDE_MESSAGES 16

#define INSIDE_PLACES 8

/*
 * A message lands when one of the places, or any block where there is none, is reached for the
 * `at`-th time, from 0, and so many blocks further.
 */
struct inside_message {
	__u32 icr; /* what is written to the ICR, less the destination */
	__u32 places, place[INSIDE_PLACES], at, further;
	__u32 seen; /* how often they have been reached, up to 1 + `at` */
	__u32 landed; /* 1 + the number of the block, 0: not yet */
	__u32 landed_pc;
	__u32 interrupts_off, kicked;
};

struct inside {
	__u32 on; /* does the thread that opened the device record its blocks? */
	__u32 count; /* of blocks */
	__u32 messages;
	struct inside_message message[INSIDE_MESSAGES];
	__u32 pc[INSIDE_ROOM]; /* the lower half of each block's address, as far as there is room */
};

#define INSIDE_DEVICE "eventdiff"
#define INSIDE_VCPU _IO('e', 1) /* a vCPU's descriptor: messages are for it */
#define INSIDE_LAND _IO('e', 2) /* an ICR value: the vCPU gets it now */

#endif
