/* The VMCS of L2, as a list of fields that the stub writes. */
#include "agent.h"

#include <string.h>
#include <sys/ioctl.h>

static uint64_t capability(struct vcpu *v, uint32_t index)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry entry; } msr = {
		.head.nmsrs = 1, .entry.index = index,
	};

	if (ioctl(v->fd, KVM_GET_MSRS, &msr) != 1)
		die("VMX capability MSRs");
	return msr.entry.data;
}

static uint32_t control(struct vcpu *v, uint32_t index, uint32_t want)
{
	uint64_t allowed = capability(v, index);

	return (want | (uint32_t)allowed) & (uint32_t)(allowed >> 32);
}

void vmcs_fields(struct vm *vm, struct vcpu *v)
{
	uint64_t *list = mb64(v, MB_FIELDS);
	uint32_t revision = capability(v, 0x480);
	const uint64_t fields[][2] = {
		{ 0x4002, control(v, 0x48e, 1U << 28) }, /* MSR bitmaps */
		{ 0x400c, control(v, 0x48f, 1U << 9) },	 /* host: long mode */
		{ 0x4012, control(v, 0x490, 1U << 9) },	 /* guest: long mode */
		{ 0x4004, 0 }, { 0x4006, 0 }, { 0x4008, 0 }, { 0x400a, 0 }, { 0x400e, 0 },
		{ 0x4010, 0 }, { 0x4014, 0 }, { 0x401a, 0 }, { 0x2004, GUEST_MSRPM },
		{ 0x2800, ~0UL }, { 0x6000, 0 }, { 0x6002, 0 }, { 0x6004, 0x80000031 },
		{ 0x6006, 0x2020 },
		/* L2 */
		{ 0x0800, 16 }, { 0x0802, 8 }, { 0x0804, 16 }, { 0x0806, 16 }, { 0x0808, 16 },
		{ 0x080a, 16 }, { 0x080c, 0 }, { 0x080e, 0x18 },
		{ 0x4800, ~0U }, { 0x4802, ~0U }, { 0x4804, ~0U }, { 0x4806, ~0U },
		{ 0x4808, ~0U }, { 0x480a, ~0U }, { 0x480c, 0 }, { 0x480e, 0x67 },
		{ 0x4810, 0x2f }, { 0x4812, 0xfff },
		{ 0x4814, 0xc093 }, { 0x4816, 0xa09b }, { 0x4818, 0xc093 }, { 0x481a, 0xc093 },
		{ 0x481c, 0xc093 }, { 0x481e, 0xc093 }, { 0x4820, 0x10000 }, { 0x4822, 0x8b },
		{ 0x482a, 0 }, { 0x2802, 0 },
		{ 0x6800, 0x80000031 }, { 0x6802, GUEST_PT }, { 0x6804, 0x2020 },
		{ 0x6806, 0 }, { 0x6808, 0 }, { 0x680a, 0 }, { 0x680c, 0 }, { 0x680e, 0 },
		{ 0x6810, 0 }, { 0x6812, 0 }, { 0x6814, GUEST_TSS }, { 0x6816, GUEST_GDT },
		{ 0x6818, GUEST_IDT }, { 0x681a, 0x400 }, { 0x6824, 0 }, { 0x6826, 0 },
		/* L1 */
		{ 0x0c00, 16 }, { 0x0c02, 8 }, { 0x0c04, 16 }, { 0x0c06, 16 }, { 0x0c08, 16 },
		{ 0x0c0a, 16 }, { 0x0c0c, 0x18 }, { 0x4c00, 0 },
		{ 0x6c00, 0x80000031 }, { 0x6c02, GUEST_PT }, { 0x6c04, 0x2020 },
		{ 0x6c06, 0 }, { 0x6c08, 0 }, { 0x6c0a, GUEST_TSS }, { 0x6c0c, GUEST_GDT },
		{ 0x6c0e, GUEST_IDT }, { 0x6c10, 0 }, { 0x6c12, 0 },
		{ 0x6c16, stub_symbol(SYM_L1_EXIT) }, { ~0UL, 0 },
	};

	memcpy(list, fields, sizeof(fields));
	*(uint32_t *)(vm->mem + page_of(v->n, 3)) = revision;
	*(uint32_t *)(vm->mem + page_of(v->n, 4)) = revision;
}
