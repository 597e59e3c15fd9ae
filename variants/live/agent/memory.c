/* Guest memory: page tables, descriptor tables, start code, mailboxes, VMCBs. */
#include "agent.h"

#include <string.h>

extern const uint8_t stub_start[], stub_end[]; /* the guest's code */

static uint64_t *at64(struct vm *vm, uint64_t gpa) { return (uint64_t *)(vm->mem + gpa); }

uint64_t stub_symbol(int index) { return ((const uint64_t *)stub_start)[index]; }

uint64_t page_of(int n, int index) { return GUEST_PAGES + n * 0x8000UL + index * 0x1000UL; }

static void descriptor_tables(struct vm *vm)
{
	uint64_t *gdt = at64(vm, GUEST_GDT);

	gdt[1] = 0x00209b0000000000; /* code, long mode */
	gdt[2] = 0x00cf93000000ffff; /* data */
	gdt[3] = 0x0000890000000067 | (uint64_t)(GUEST_TSS & 0xffffff) << 16;
	for (int i = 0; i < 256; i++) {
		uint64_t to = i == 2 ? stub_symbol(SYM_NMI)
			: i < 32 ? stub_symbol(SYM_FAULTS) + 16 * i : stub_symbol(SYM_IRQS) + 16 * i;
		uint64_t *gate = at64(vm, GUEST_IDT + 16 * i);

		gate[0] = (to & 0xffff) | 0x08 << 16 | 0x8e00UL << 32 | (to >> 16 & 0xffff) << 48;
		gate[1] = to >> 32;
	}
}

static void start_code(struct vm *vm)
{
	/* mov %cs,%ax; ljmp $0,$BOOT16 */
	static const uint8_t start[] = { 0x8c, 0xc8, 0xea, BOOT16 & 0xff, BOOT16 >> 8, 0, 0 };
	/* mov $0xffff,%ax; ljmp $0,$BOOT16 */
	static const uint8_t reset[] = { 0xb8, 0xff, 0xff, 0xea, BOOT16 & 0xff, BOOT16 >> 8, 0, 0 };
	/* Page 0 holds the real-mode vectors too: mov %cs,%ax; jmp BOOT16. In long mode, where
	 * every vector starts here, the same bytes jump to BOOT16 + 2. */
	static const uint8_t zero[] = { 0x8c, 0xc8, 0xe9, (BOOT16 - 5) & 0xff, (BOOT16 - 5) >> 8, 0, 0 };
	uint64_t code = stub_symbol(SYM_BOOT16), size = stub_symbol(SYM_BOOT16_END) - code;

	for (int page = 1; page < 256; page++)
		memcpy(vm->mem + page * 0x1000, start, sizeof(start));
	memcpy(vm->mem, zero, sizeof(zero));
	memcpy(vm->reset_page + 0xff0, reset, sizeof(reset));
	/* An NMI at the reset vector: IRET loads CS anew, and with it a base of 0xf0000. */
	memcpy(vm->mem + 0xffff0, reset, sizeof(reset));
	/* KVM 5.10 leaves SVM's IDTR.base as it was when INIT resets a vCPU (init_vmcb), so the
	 * real-mode vector of NMI may be looked up in the IDT: there in the unused half of gate 0. */
	*(uint32_t *)(vm->mem + 8) = *(uint32_t *)(vm->mem + GUEST_IDT + 8) =
		BOOT16 + (uint32_t)(stub_symbol(SYM_RM_NMI) - code);
	memcpy(vm->mem + BOOT16, vm->mem + code, size);
	*(uint32_t *)(vm->mem + BOOT_CR4) = vm->vmx ? 0x2020 : 0x20;
	*(uint32_t *)(vm->mem + BOOT_EFER) = vm->vmx ? 0x100 : 0x1100;
	*(uint16_t *)(vm->mem + BOOT_GDTR) = 0x2f;
	*(uint32_t *)(vm->mem + BOOT_GDTR + 2) = GUEST_GDT;
	*(uint16_t *)(vm->mem + BOOT_IDTR) = 0xfff;
	*(uint64_t *)(vm->mem + BOOT_IDTR + 2) = GUEST_IDT;
}

static void vmcb_segment(uint8_t *vmcb, int at, uint16_t selector, uint16_t attrib,
			 uint32_t limit, uint64_t base)
{
	*(uint16_t *)(vmcb + at) = selector;
	*(uint16_t *)(vmcb + at + 2) = attrib;
	*(uint32_t *)(vmcb + at + 4) = limit;
	*(uint64_t *)(vmcb + at + 8) = base;
}

static void vmcb_init(struct vm *vm, uint64_t gpa)
{
	uint8_t *vmcb = vm->mem + gpa;

	*(uint32_t *)(vmcb + 0x10) = 3; /* VMRUN, VMMCALL */
	*(uint32_t *)(vmcb + 0x58) = 1; /* ASID */
	*(uint64_t *)(vmcb + 0x70) = SENTINEL;
	vmcb_segment(vmcb, 0x400, 0x10, 0xc93, 0xffffffff, 0);
	vmcb_segment(vmcb, 0x410, 0x08, 0xa9b, 0xffffffff, 0);
	vmcb_segment(vmcb, 0x420, 0x10, 0xc93, 0xffffffff, 0);
	vmcb_segment(vmcb, 0x430, 0x10, 0xc93, 0xffffffff, 0);
	vmcb_segment(vmcb, 0x460, 0, 0, 0x2f, GUEST_GDT);
	vmcb_segment(vmcb, 0x480, 0, 0, 0xfff, GUEST_IDT);
	vmcb_segment(vmcb, 0x490, 0x18, 0x8b, 0x67, GUEST_TSS);
	*(uint64_t *)(vmcb + 0x4d0) = 0x1500; /* EFER: SVME LMA LME */
	*(uint64_t *)(vmcb + 0x548) = 0x20; /* CR4 */
	*(uint64_t *)(vmcb + 0x550) = GUEST_PT;
	*(uint64_t *)(vmcb + 0x558) = 0x80000031;
	*(uint64_t *)(vmcb + 0x560) = 0x400; /* DR7, DR6 */
	*(uint64_t *)(vmcb + 0x568) = 0xffff0ff0;
	*(uint64_t *)(vmcb + 0x668) = 0x0007040600070406; /* PAT */
}

/* Mailbox and SMI handler of the vCPU number n; they stay when save-restore creates it anew. */
static void mailbox_init(struct vm *vm, int n)
{
	uint64_t gpa = GUEST_MB + n * 0x1000, smm = GUEST_SMBASE + n * 0x10000 + 0x8000;
	uint8_t *mailbox = vm->mem + gpa;
	uint64_t code = stub_symbol(SYM_SMM);

	*(uint64_t *)(mailbox + MB_L1_RSP) = page_of(n, 1);
	*(uint64_t *)(mailbox + MB_L2_RSP) = page_of(n, 2);
	*(uint64_t *)(mailbox + MB_VMCB) = page_of(n, 3);
	*(uint64_t *)(mailbox + MB_VMXON_PA) = page_of(n, 3);
	*(uint64_t *)(mailbox + MB_VMCS_PA) = page_of(n, 4);
	memcpy(vm->mem + smm, vm->mem + code, stub_symbol(SYM_SMM_END) - code);
	*(uint32_t *)(vm->mem + smm + 2) = gpa;
	if (!vm->vmx)
		vmcb_init(vm, page_of(n, 3));
}

void memory_init(struct vm *vm)
{
	uint64_t *pd = at64(vm, GUEST_PT + 0x2000);

	memcpy(vm->mem + GUEST_STUB, stub_start, stub_end - stub_start);
	*at64(vm, GUEST_PT) = (GUEST_PT + 0x1000) | 0x23; /* accessed */
	*at64(vm, GUEST_PT + 0x1000) = (GUEST_PT + 0x2000) | 0x23;
	pd[0] = 0x83 | 0x60; /* accessed, dirty */
	descriptor_tables(vm);
	start_code(vm);
	for (int n = 0; n < MAX_VCPUS; n++)
		mailbox_init(vm, n);
}

/* Undo what the guest has written. */
void memory_reset(struct vm *vm)
{
	memset(vm->mem, 0, 0x1000);
	memset(vm->mem + REAL_MODE_STACK, 0, 0x1000);
	memset(vm->mem + GUEST_PT, 0, GUEST_PAGES + MAX_VCPUS * 0x8000 - GUEST_PT);
	for (int n = 0; n < MAX_VCPUS; n++)
		memset(vm->mem + GUEST_SMBASE + n * 0x10000 + SMM_SAVE_AREA, 0, 0x1000);
	memory_init(vm);
}
