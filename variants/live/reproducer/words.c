/* What a step showed, in the words of the expectations. */
#define _GNU_SOURCE
#include "agent.h"

#include <string.h>

#define ROOM 2048
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NAME(names, n) ((size_t)(n) < COUNT(names) ? (names)[n] : "?")

#define BSP_RESET 0xffff
#define GIF_SET 0x100 /* of KVM_GET_NESTED_STATE's flags */

static const char *outcome_of(const struct step *step, const struct shown *shown)
{
	static const char *const ran[] = { "", "blocked", "busy", "shutdown", "error" };
	const char *dead = shown->dead == 1 ? "shutdown" : "error";

	if (step->op >= OP_SMI)
		return step->op == OP_SAVE_RESTORE && shown->dead ? dead : "ioctl";
	if (shown->ran < 0)
		return dead;
	if (shown->ran != RAN_EXIT)
		return ran[shown->ran];
	switch (shown->port) {
	case PORT_L1:
	case PORT_EXIT:
	case PORT_FAIL: return "l1";
	case PORT_L2: return "l2";
	case PORT_SMM: return "smm";
	case PORT_BOOT: return shown->boot == BSP_RESET ? "bsp-reset" : "sipi";
	default: return "error";
	}
}

static void put_exit(FILE *out, const struct shown *shown)
{
	uint32_t number = VMX ? shown->reason & 0xffff : shown->reason;
	const char *name = NULL;

	for (unsigned i = 0; i < COUNT(exits); i++)
		if (exits[i].number == number)
			name = exits[i].name;
	if (name)
		fprintf(out, " exit %s", name);
	else
		fprintf(out, VMX ? " exit EXIT_%u" : " exit VMEXIT_0x%x", number);
	if (shown->qualification)
		fprintf(out, " %#lx", shown->qualification);
	if (VMX && shown->activity)
		fprintf(out, " (saved %s)", NAME(activities, shown->activity));
}

static void put_taken(FILE *out, uint32_t taken)
{
	if (taken & 0x10000)
		fprintf(out, " rdmsr:0x%x", taken & 0xffff);
	else if (taken & 0x100)
		fprintf(out, " nmi");
	else
		fprintf(out, " fixed:0x%02x", taken);
}

static void words_of(const struct step *step, const struct shown *shown, char *text)
{
	FILE *out = fmemopen(text, ROOM, "w");
	const char *outcome = outcome_of(step, shown);
	bool executed = step->op >= OP_SMI ? !strcmp(outcome, "ioctl")
					   : shown->executed && shown->ran >= 0;

	fprintf(out, "%s", outcome);
	if (!strcmp(outcome, "sipi"))
		fprintf(out, " 0x%02x", shown->boot >> 8);
	if (shown->exit)
		put_exit(out, shown);
	if (!executed)
		fprintf(out, " not-executed");
	for (unsigned i = 0; i < shown->ntaken; i++)
		put_taken(out, shown->taken[i]);
	if (step->op == OP_GET_MP_STATE || step->op == OP_SET_MP_STATE)
		fprintf(out, " %s",
			shown->mp_state < 0 ? "EINVAL" : NAME(mp_states, shown->mp_state));
	if (shown->latched >= 0)
		fprintf(out, " latched_init=%d", shown->latched);
	if (!VMX && !(shown->flags & GIF_SET))
		fprintf(out, " GIF=0");
	if (shown->woke)
		fprintf(out, " woke");
	if (strcmp(shown->warning, "-"))
		fprintf(out, " WARN %s", shown->warning);
	if (shown->flags & KVM_STATE_NESTED_GUEST_MODE)
		fprintf(out, " guest_mode");
	if (VMX && shown->vmxon)
		fprintf(out, " vmxon");
	if (shown->smm)
		fprintf(out, " smm");
	fclose(out);
}
