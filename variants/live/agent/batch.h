/* The agent: batches of schedules, run by a child in VMs that it keeps. */
#ifndef BATCH_H
#define BATCH_H

#include "agent.h"
#include "inside.h"

#define MAX_STEPS 4096

/* Where in its target's next step an ICR write lands. */
struct landing {
	bool armed; /* or else it does not wait for that */
	uint32_t at; /* at the at-th block that the step reaches, from 0, */
	uint32_t places, place[INSIDE_PLACES]; /* of these, where there are any, */
	uint32_t further; /* and so many blocks further */
};

struct schedule {
	int number, vmx, vcpus, nsteps, aloud, fresh, inside;
	struct step steps[MAX_STEPS];
	struct landing landings[MAX_STEPS]; /* of CMD_ICR */
};

#define MAX_BLOCKS (1 << 14)

/* What `inside` asks for, as bits: the blocks that a schedule reaches; where messages landed in a
 * step; the blocks of a step in which one may have, in order.
 */
enum { COVERAGE = 1, LANDED = 2, PASSED = 4 };

/* What a step shows from inside. */
struct seen {
	unsigned blocks; /* that it reached, again and again included: */
	const uint32_t *pc;
	unsigned messages; /* that were to land in it */
	const struct inside_message *message;
};

/* Blocks by number, in the order in which they were first reached; a bit for each in `hit`. */
struct coverage {
	unsigned known, told;
	uint32_t pc[MAX_BLOCKS];
	uint16_t number[2 * MAX_BLOCKS]; /* a hash table: 1 + the number */
	uint8_t hit[MAX_BLOCKS / 8];
};

enum { TICKED = 1, SPOILT = 2 }; /* what a schedule came to, as bits */

enum ended { ENDED_OK, ENDED_TICKED, ENDED_DIED, ENDED_HUNG };

struct worker {
	int kvm, output;
	struct schedule *schedule; /* shared with the child, as is the text */
	struct coverage *coverage; /* and this */
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
int run_schedule(struct vm *vm, struct schedule *s, struct coverage *coverage, FILE *out);

/* inside.c */
bool inside_is_there(void);
void inside_open(void);
void inside_layout(int output);
uint32_t inside_address(const char *module, const char *section);
void inside_schedule(void);
void run_step_inside(struct vm *vm, const struct schedule *s, int i, struct shown *shown,
		     struct seen *seen);

/* coverage.c */
void coverage_add(struct coverage *c, const uint32_t *pc, unsigned count);
void coverage_put(struct coverage *c, FILE *out);

/* line.c */
int line_open(void);
FILE *line_batch(int line);

/* worker.c */
enum ended worker_run(struct worker *w);
void worker_stop(struct worker *w);

/* compare.c */
void memory_compare(struct vm *vm);

#endif
