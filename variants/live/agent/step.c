/* One step: tell the guest, run the vCPU or call the ioctl, look, and print a line. */
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define VMCS12_LAUNCH 8
#define VMCS12_QUALIFICATION 408
#define VMCS12_REASON 812
#define VMCS12_ACTIVITY 916

struct seen {
	bool exit;
	uint64_t reason, qualification;
	int activity, mp_state, latched;
};

static void look(struct vcpu *v, struct nested *nested)
{
	memset(nested, 0, sizeof(nested->state) + 4096);
	nested->state.size = sizeof(*nested);
	if (ioctl(v->fd, KVM_GET_NESTED_STATE, nested))
		die("KVM_GET_NESTED_STATE");
}

static uint32_t vmcs12(struct nested *nested, int at)
{
	return *(uint32_t *)((uint8_t *)nested->state.data.vmx + at);
}

static bool has_vmcs12(struct nested *nested)
{
	return nested->state.size > sizeof(nested->state);
}

static void command(struct vm *vm, struct vcpu *v, struct step *s)
{
	struct nested nested;

	*mb32(v, MB_CMD) = s->op;
	*mb64(v, MB_ARG0) = s->arg0;
	*mb64(v, MB_ARG1) = s->arg1;
	if (s->op == CMD_ICR && s->to >= 0)
		*mb32(v, MB_ARG0 + 4) = vm->vcpu[s->to].id;
	if (vm->vmx) {
		look(v, &nested);
		*mb32(v, MB_VMXON) = nested.state.hdr.vmx.vmxon_pa != ~0ULL;
		*mb32(v, MB_RESUME) = has_vmcs12(&nested) && vmcs12(&nested, VMCS12_LAUNCH);
	}
	++*mb32(v, MB_SEQ);
}

static int host_step(struct vm *vm, struct vcpu *v, struct step *s, struct seen *seen)
{
	struct kvm_mp_state mp = { s->arg0 };
	struct kvm_vcpu_events events;

	switch (s->op) {
	case OP_SMI: return ioctl(v->fd, KVM_SMI, 0);
	case OP_NMI: return ioctl(v->fd, KVM_NMI, 0);
	case OP_GET_MP:
		if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
			return -1;
		seen->mp_state = mp.mp_state;
		return 0;
	case OP_SET_MP:
		seen->mp_state = ioctl(v->fd, KVM_SET_MP_STATE, &mp) ? -errno : (int)s->arg0;
		return 0;
	case OP_GET_EVENTS:
		if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events))
			return -1;
		seen->latched = events.smi.latched_init;
		return 0;
	default:
		return save_restore(vm, v);
	}
}

/* A VM exit that L1 has not been seen to take yet. */
static void nested_exit(struct vm *vm, struct vcpu *v, struct nested *now, bool at_exit,
			struct seen *seen)
{
	bool guest_mode = now->state.flags & KVM_STATE_NESTED_GUEST_MODE;

	if (vm->vmx) {
		bool left = v->guest_mode && !guest_mode && !v->smm;
		struct kvm_sregs sregs;

		ioctl(v->fd, KVM_GET_SREGS, &sregs);
		if (has_vmcs12(now) && ((at_exit && !v->exit_shown) || (left && sregs.cr0 & 1))) {
			seen->exit = true;
			seen->reason = vmcs12(now, VMCS12_REASON);
			seen->qualification = vmcs12(now, VMCS12_QUALIFICATION);
			seen->activity = vmcs12(now, VMCS12_ACTIVITY);
		}
		v->exit_shown = seen->exit && !at_exit;
	} else {
		uint64_t *code = (uint64_t *)(vm->mem + page_of(v->n, 3) + 0x70);

		if (!guest_mode && !v->smm && *code != SENTINEL) {
			seen->exit = true;
			seen->reason = (uint32_t)*code;
			seen->qualification = code[1];
		}
		*code = SENTINEL;
	}
	v->guest_mode = guest_mode;
}

/* Printing takes its time: what is usual goes without saying (USUAL in protocol.py). */
static void put(FILE *out, const char *name, int value, int usual)
{
	if (value != usual)
		fprintf(out, " %s=%d", name, value);
}

/* What the step came to, as bits. */
static int one_step(struct vm *vm, struct schedule *s, int number, FILE *out)
{
	static struct nested now;
	struct step *step = &s->steps[number];
	struct vcpu *v = &vm->vcpu[step->on];
	struct seen seen = { .mp_state = -1, .latched = -1 };
	int ran = -1, port = 0;
	bool ticked = false;
	char warning[64];

	*mb32(v, MB_NTAKEN) = *mb32(v, MB_WOKE) = *mb32(v, MB_FAULT) = 0;
	if (step->op >= OP_SMI) {
		if (host_step(vm, v, step, &seen))
			v->dead = 2;
	} else if (!v->dead) {
		command(vm, v, step);
		ran = run_vcpu(v, &ticked);
		port = ran == RAN_EXIT ? v->run->io.port : 0;
		v->smm = v->run->flags & KVM_RUN_X86_SMM;
		if (ran == RAN_SHUTDOWN || ran == RAN_ERROR)
			v->dead = ran == RAN_SHUTDOWN ? 1 : 2;
	}
	look(v, &now);
	nested_exit(vm, v, &now, port == PORT_EXIT, &seen);
	if (seen.exit && port != PORT_EXIT)
		*mb32(v, MB_SHOWN) = 1;
	if (!v->smm) /* where RSM goes back to, start code goes on as before */
		*mb32(v, MB_IN_L2) = v->guest_mode;
	kmsg_warning(warning, sizeof(warning));
	fprintf(out, "R");
	put(out, "ran", ran, RAN_EXIT);
	put(out, "dead", v->dead, 0);
	put(out, "port", port, 0);
	put(out, "executed", *mb32(v, MB_EXECUTED) == *mb32(v, MB_SEQ), 0);
	put(out, "woke", *mb32(v, MB_WOKE), 0);
	put(out, "boot", port == PORT_BOOT ? *mb32(v, MB_BOOT) : 0, 0);
	put(out, "smm", v->smm, 0);
	put(out, "flags", now.state.flags, 0);
	put(out, "vmxon", vm->vmx && now.state.hdr.vmx.vmxon_pa != ~0ULL, 0);
	put(out, "mp", seen.mp_state, -1);
	put(out, "latched", seen.latched, -1);
	if (warning[0] != '-')
		fprintf(out, " warn=%s", warning);
	if (seen.exit)
		fprintf(out, " exit=%lx,%lx,%d", seen.reason, seen.qualification, seen.activity);
	for (unsigned i = 0; i < *mb32(v, MB_NTAKEN) && i < 64; i++)
		fprintf(out, "%s%x", i ? "," : " taken=", *mb32(v, MB_TAKEN + 4 * i));
	fprintf(out, "\n");
	return (ticked ? TICKED : 0) | (v->dead || warning[0] != '-' ? SPOILT : 0);
}

/* TICKED: a timer tick interfered. SPOILT: what happened may outlast the vCPUs. */
int run_schedule(struct vm *vm, struct schedule *s, FILE *out)
{
	int came_to = 0;
	char warning[64];

	vm_begin(vm, s->vcpus);
	kmsg_warning(warning, sizeof(warning)); /* one of set-up is none of a step's */
	for (int i = 0; i < s->nsteps; i++) {
		came_to |= one_step(vm, s, i, out);
		fflush(out);
		if (s->aloud)
			tcdrain(fileno(out));
	}
	if (!came_to)
		vm_end(vm);
	return came_to;
}
