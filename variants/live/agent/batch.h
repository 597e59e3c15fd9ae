/* The agent: batches of schedules, run by a child in VMs that it keeps. */
#ifndef BATCH_H
#define BATCH_H

#include "agent.h"

#define MAX_STEPS 4096

struct schedule {
	int number, vmx, vcpus, nsteps, aloud, fresh;
	struct step steps[MAX_STEPS];
};

enum { TICKED = 1, SPOILT = 2 }; /* what a schedule came to, as bits */

enum ended { ENDED_OK, ENDED_TICKED, ENDED_DIED, ENDED_HUNG };

struct worker {
	int kvm, output;
	struct schedule *schedule; /* shared with the child, as is the text */
	char *text;
	size_t room;
	pid_t child; /* 0: none */
	int ask, answers, groups;
};

/* system.c */
int system_init(void);
bool make_raw(int port);
void system_end(int output) __attribute__((noreturn));

/* schedule.c */
int run_schedule(struct vm *vm, struct schedule *s, FILE *out);

/* line.c */
int line_open(void);
FILE *line_batch(int line);

/* worker.c */
enum ended worker_run(struct worker *w);
void worker_stop(struct worker *w);

/* compare.c */
void memory_compare(struct vm *vm);

#endif
