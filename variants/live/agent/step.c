/* One step: tell the guest, run the vCPU or call the ioctl, and look. */
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define VMCS12_LAUNCH 8
#define VMCS12_QUALIFICATION 408
#define VMCS12_REASON 812
#define VMCS12_ACTIVITY 916

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

static void command(struct vm *vm, struct vcpu *v, const struct step *s)
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

static int host_step(struct vm *vm, struct vcpu *v, const struct step *s,
		     struct shown *shown)
{
	struct kvm_mp_state mp = { s->arg0 };
	struct kvm_vcpu_events events;

	switch (s->op) {
	case OP_SMI: return ioctl(v->fd, KVM_SMI, 0);
	case OP_NMI: return ioctl(v->fd, KVM_NMI, 0);
	case OP_GET_MP_STATE:
		if (ioctl(v->fd, KVM_GET_MP_STATE, &mp))
			return -1;
		shown->mp_state = mp.mp_state;
		return 0;
	case OP_SET_MP_STATE:
		shown->mp_state = ioctl(v->fd, KVM_SET_MP_STATE, &mp) ? -errno : (int)s->arg0;
		return 0;
	case OP_GET_VCPU_EVENTS:
		if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events))
			return -1;
		shown->latched = events.smi.latched_init;
		return 0;
	default:
		return save_restore(vm, v);
	}
}

/* A VM exit that L1 has not been seen to take yet. */
static void nested_exit(struct vm *vm, struct vcpu *v, struct nested *now, bool at_exit,
			struct shown *shown)
{
	bool guest_mode = now->state.flags & KVM_STATE_NESTED_GUEST_MODE;

	if (vm->vmx) {
		bool left = v->guest_mode && !guest_mode && !v->smm;
		struct kvm_sregs sregs;

		ioctl(v->fd, KVM_GET_SREGS, &sregs);
		if (has_vmcs12(now) && ((at_exit && !v->exit_shown) || (left && sregs.cr0 & 1))) {
			shown->exit = true;
			shown->reason = vmcs12(now, VMCS12_REASON);
			shown->qualification = vmcs12(now, VMCS12_QUALIFICATION);
			shown->activity = vmcs12(now, VMCS12_ACTIVITY);
		}
		v->exit_shown = shown->exit && !at_exit;
	} else {
		uint64_t *code = (uint64_t *)(vm->mem + page_of(v->n, 3) + 0x70);

		if (!guest_mode && !v->smm && *code != SENTINEL) {
			shown->exit = true;
			shown->reason = (uint32_t)*code;
			shown->qualification = code[1];
		}
		*code = SENTINEL;
	}
	v->guest_mode = guest_mode;
}

/* Before a step: the guest is told of it. */
void step_begin(struct vm *vm, const struct step *step, struct shown *shown)
{
	struct vcpu *v = &vm->vcpu[step->on];

	*shown = (struct shown){ .ran = -1, .mp_state = -1, .latched = -1 };
	*mb32(v, MB_NTAKEN) = *mb32(v, MB_WOKE) = *mb32(v, MB_FAULT) = 0;
	if (step->op < OP_SMI && !v->dead)
		command(vm, v, step);
}

/* The step: the ioctl that it is. */
void step_take(struct vm *vm, const struct step *step, struct shown *shown)
{
	struct vcpu *v = &vm->vcpu[step->on];

	if (step->op >= OP_SMI) {
		if (host_step(vm, v, step, shown))
			v->dead = 2;
	} else if (!v->dead) {
		shown->ran = run_vcpu(v, &shown->ticked);
		shown->port = shown->ran == RAN_EXIT ? v->run->io.port : 0;
		v->smm = v->run->flags & KVM_RUN_X86_SMM;
		if (shown->ran == RAN_SHUTDOWN || shown->ran == RAN_ERROR)
			v->dead = shown->ran == RAN_SHUTDOWN ? 1 : 2;
	}
}

/* What it shows. */
void step_look(struct vm *vm, const struct step *step, struct shown *shown)
{
	static struct nested now;
	struct vcpu *v = &vm->vcpu[step->on];

	look(v, &now);
	nested_exit(vm, v, &now, shown->port == PORT_EXIT, shown);
	if (shown->exit && shown->port != PORT_EXIT)
		*mb32(v, MB_SHOWN) = 1;
	if (!v->smm) /* where RSM goes back to, start code goes on as before */
		*mb32(v, MB_IN_L2) = v->guest_mode;
	kmsg_warning(shown->warning, sizeof(shown->warning));
	shown->dead = v->dead;
	shown->executed = *mb32(v, MB_EXECUTED) == *mb32(v, MB_SEQ);
	shown->woke = *mb32(v, MB_WOKE);
	shown->boot = shown->port == PORT_BOOT ? *mb32(v, MB_BOOT) : 0;
	shown->smm = v->smm;
	shown->flags = now.state.flags;
	shown->vmxon = vm->vmx && now.state.hdr.vmx.vmxon_pa != ~0ULL;
	while (shown->ntaken < *mb32(v, MB_NTAKEN) && shown->ntaken < MAX_TAKEN) {
		shown->taken[shown->ntaken] = *mb32(v, MB_TAKEN + 4 * shown->ntaken);
		shown->ntaken++;
	}
}

void run_step(struct vm *vm, const struct step *step, struct shown *shown)
{
	step_begin(vm, step, shown);
	step_take(vm, step, shown);
	step_look(vm, step, shown);
}
