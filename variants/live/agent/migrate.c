/* save-restore: what live migration does to one vCPU, in QEMU's order of ioctls. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct kvm_msrs *msr_list(int kvm)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 512 * sizeof(uint32_t));
	struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + 512 * sizeof(struct kvm_msr_entry));

	list->nmsrs = 512;
	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, list))
		die("KVM_GET_MSR_INDEX_LIST");
	for (unsigned i = 0; i < list->nmsrs; i++)
		if (list->indices[i] != 0x10) /* the TSC */
			msrs->entries[msrs->nmsrs++].index = list->indices[i];
	free(list);
	return msrs;
}

/* MSRs one at a time: one that cannot be read or written is no reason to lose the others. */
static void copy_msrs(struct kvm_msrs *all, int from, int to)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry entry; } one = { .head.nmsrs = 1 };

	for (unsigned i = 0; i < all->nmsrs; i++) {
		one.entry = all->entries[i];
		if (from >= 0) {
			bool got = ioctl(from, KVM_GET_MSRS, &one) == 1;

			all->entries[i] = one.entry;
			if (!got)
				all->entries[i].index = 0;
		} else if (one.entry.index) {
			ioctl(to, KVM_SET_MSRS, &one);
		}
	}
}

/* KVM_RUN completes nothing while mp_state is UNINITIALIZED: get past the step's OUT by hand. */
static void past_out(struct vm *vm, struct kvm_mp_state *mp, struct kvm_sregs *sregs,
		     struct kvm_regs *regs)
{
	uint64_t at = sregs->cs.base + regs->rip;

	if (mp->mp_state == KVM_MP_STATE_UNINITIALIZED && at < GUEST_SIZE && vm->mem[at] == 0xe6)
		regs->rip += 2;
}

/* 0, or the errno of the ioctl that failed. */
int save_restore(struct vm *vm, struct vcpu *v)
{
	static struct kvm_vcpu_events events;
	static struct kvm_mp_state mp;
	static struct kvm_regs regs;
	static struct kvm_sregs sregs;
	static struct kvm_lapic_state lapic;
	static struct nested nested;
	struct kvm_msrs *msrs = msr_list(vm->kvm);
	struct vcpu before = *v;
	int old = v->fd;

	v->run->immediate_exit = 1; /* completes the OUT */
	ioctl(old, KVM_RUN, 0);
	v->run->immediate_exit = 0;
	nested.state.size = sizeof(nested);
	if (ioctl(old, KVM_GET_VCPU_EVENTS, &events) || ioctl(old, KVM_GET_MP_STATE, &mp) ||
	    ioctl(old, KVM_GET_REGS, &regs) || ioctl(old, KVM_GET_SREGS, &sregs) ||
	    ioctl(old, KVM_GET_LAPIC, &lapic) || ioctl(old, KVM_GET_NESTED_STATE, &nested))
		return errno;
	past_out(vm, &mp, &sregs, &regs);
	copy_msrs(msrs, old, -1);
	vcpu_open(vm, v, vcpu_id(v->n, vm->groups++));
	vcpu_close(&before);
	*(uint32_t *)(lapic.regs + 0x20) = v->id << 24;
	events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SMM;
	events.flags &= ~KVM_VCPUEVENT_VALID_SIPI_VECTOR;
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs))
		return errno;
	copy_msrs(msrs, -1, v->fd);
	if (ioctl(v->fd, KVM_SET_NESTED_STATE, &nested) || ioctl(v->fd, KVM_SET_REGS, &regs) ||
	    ioctl(v->fd, KVM_SET_LAPIC, &lapic) || ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) ||
	    ioctl(v->fd, KVM_SET_MP_STATE, &mp))
		return errno;
	free(msrs);
	return 0;
}
