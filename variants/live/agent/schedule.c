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
	fprintf(out, "\n");
}

static void vm_end(struct vm *vm)
{
	for (int n = 0; n < vm->vcpus; n++)
		vcpu_close(&vm->vcpu[n]);
}

/* TICKED: a timer tick interfered. SPOILT: what happened may outlast the vCPUs. */
int run_schedule(struct vm *vm, struct schedule *s, FILE *out)
{
	int came_to = 0;
	struct shown shown;

	vm_begin(vm, s->vcpus);
	/* One of set-up is none of a step's. */
	kmsg_warning(shown.warning, sizeof(shown.warning));
	for (int i = 0; i < s->nsteps; i++) {
		run_step(vm, &s->steps[i], &shown);
		put_step(out, &shown);
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
