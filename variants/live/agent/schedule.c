/* A schedule of a batch: its steps, each printed as a line. */
#include "batch.h"

#include <termios.h>

/* Printing takes its time: what is usual goes without saying (USUAL in protocol.py). */
static void put(FILE *out, const char *name, int value, int usual)
{
	if (value != usual)
		fprintf(out, " %s=%d", name, value);
}

static void put_step(FILE *out, const struct shown *shown)
{
	fprintf(out, "R");
	put(out, "ran", shown->ran, RAN_EXIT);
	put(out, "dead", shown->dead, 0);
	put(out, "port", shown->port, 0);
	put(out, "executed", shown->executed, 0);
	put(out, "woke", shown->woke, 0);
	put(out, "boot", shown->boot, 0);
	put(out, "smm", shown->smm, 0);
	put(out, "flags", shown->flags, 0);
	put(out, "vmxon", shown->vmxon, 0);
	put(out, "mp", shown->mp_state, -1);
	put(out, "latched", shown->latched, -1);
	if (shown->warning[0] != '-')
		fprintf(out, " warn=%s", shown->warning);
	if (shown->exit)
		fprintf(out, " exit=%lx,%lx,%d", shown->reason, shown->qualification,
			shown->activity);
	for (unsigned i = 0; i < shown->ntaken; i++)
		fprintf(out, "%s%x", i ? "," : " taken=", shown->taken[i]);
}

/* For each message the number of the block where it landed, -1 at the end of the step. */
static void put_landed(FILE *out, const struct seen *seen)
{
	for (unsigned i = 0; i < seen->messages; i++) {
		const struct inside_message *m = &seen->message[i];

		fprintf(out, "%s%d:%x:%u:%u", i ? "," : " landed=", (int)m->landed - 1,
			m->landed_pc, m->interrupts_off, m->kicked);
	}
}

static void put_passed(FILE *out, const struct seen *seen)
{
	for (unsigned i = 0; i < seen->blocks; i++)
		fprintf(out, "%s%x", i ? "," : " pcs=", seen->pc[i]);
}

static void vm_end(struct vm *vm)
{
	for (int n = 0; n < vm->vcpus; n++)
		vcpu_close(&vm->vcpu[n]);
}

/* TICKED: a timer tick interfered. SPOILT: what happened may outlast the vCPUs. */
int run_schedule(struct vm *vm, struct schedule *s, struct coverage *coverage, FILE *out)
{
	int came_to = 0;
	struct shown shown;
	struct seen seen;

	vm_begin(vm, s->vcpus);
	inside_schedule();
	/* One of set-up is none of a step's. */
	kmsg_warning(shown.warning, sizeof(shown.warning));
	for (int i = 0; i < s->nsteps; i++) {
		if (s->inside)
			run_step_inside(vm, s, i, &shown, &seen);
		else
			run_step(vm, &s->steps[i], &shown);
		put_step(out, &shown);
		if (s->inside & COVERAGE)
			coverage_add(coverage, seen.pc, seen.blocks);
		if (s->inside & LANDED && seen.messages)
			put_landed(out, &seen);
		if (s->inside & PASSED && seen.messages)
			put_passed(out, &seen);
		fprintf(out, "\n");
		came_to |= shown.ticked ? TICKED : 0;
		came_to |= shown.dead || shown.warning[0] != '-' ? SPOILT : 0;
		fflush(out);
		if (s->aloud)
			tcdrain(fileno(out));
	}
	if (!came_to)
		vm_end(vm);
	return came_to;
}
