/* A VM with an in-kernel irqchip and vCPUs in long mode on the stub. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSR_APIC_BASE 0x1b
#define APIC_OFF 0xfee00000UL
#define X2APIC 0xfee00c00UL
#define CPUIDS 256
#define FIRST_TRIES 10

static void *checked(void *p, const char *what)
{
	if (p == MAP_FAILED)
		die(what);
	return p;
}

static void slot(struct vm *vm, int number, uint64_t gpa, uint64_t size, void *at)
{
	struct kvm_userspace_memory_region region = {
		.slot = number, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uint64_t)at,
	};

	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
		die("memory slot");
}

static void msr_set(struct vcpu *v, uint32_t index, uint64_t value)
{
	struct { struct kvm_msrs head; struct kvm_msr_entry entry; } msr = {
		.head.nmsrs = 1, .entry = { .index = index, .data = value },
	};

	if (ioctl(v->fd, KVM_SET_MSRS, &msr) != 1)
		die("KVM_SET_MSRS");
}

static void set_sregs(struct vm *vm, struct vcpu *v)
{
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1,
				    .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1,
				    .s = 1, .db = 1, .g = 1 };
	struct kvm_sregs s;

	ioctl(v->fd, KVM_GET_SREGS, &s);
	s.cs = code;
	s.ds = s.es = s.ss = s.fs = s.gs = data;
	s.tr = (struct kvm_segment){ .base = GUEST_TSS, .limit = 0x67, .selector = 0x18,
				     .type = 11, .present = 1 };
	s.gdt.base = GUEST_GDT;
	s.gdt.limit = 0x2f;
	s.idt.base = GUEST_IDT;
	s.idt.limit = 0xfff;
	s.cr0 = 0x80000031;
	s.cr3 = GUEST_PT;
	s.cr4 = vm->vmx ? 0x2020 : 0x20;
	s.efer = vm->vmx ? 0x500 : 0x1500;
	s.apic_base = X2APIC | (v->n == 0 ? 0x100 : 0);
	if (ioctl(v->fd, KVM_SET_SREGS, &s))
		die("KVM_SET_SREGS");
}

static int run_size(int kvm)
{
	static int size;

	return size ? size : (size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
}

/* A new vCPU with the number v->n. */
void vcpu_open(struct vm *vm, struct vcpu *v, int id)
{
	v->id = id;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (v->fd < 0)
		die("KVM_CREATE_VCPU");
	v->run = checked(mmap(NULL, run_size(vm->kvm), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0), "kvm_run");
	v->mailbox = vm->mem + GUEST_MB + v->n * 0x1000;
	if (ioctl(v->fd, KVM_SET_CPUID2, vm->cpuid))
		die("KVM_SET_CPUID2");
}

/* KVM has a vCPU until its VM ends: one without an APIC is at least sent nothing. */
void vcpu_close(struct vcpu *v)
{
	msr_set(v, MSR_APIC_BASE, APIC_OFF);
	munmap(v->run, run_size(-1));
	close(v->fd);
}

static void set_runnable(struct vcpu *v)
{
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };

	if (ioctl(v->fd, KVM_SET_MP_STATE, &runnable))
		die("KVM_SET_MP_STATE");
}

static void vcpu_start(struct vm *vm, struct vcpu *v)
{
	struct kvm_lapic_state lapic;
	bool ticked;
	struct kvm_regs regs = { .rip = stub_symbol(SYM_L1_START), .rflags = 2 };

	regs.rbx = GUEST_MB + v->n * 0x1000;
	regs.rsp = page_of(v->n, 1);
	set_sregs(vm, v);
	if (ioctl(v->fd, KVM_SET_REGS, &regs))
		die("KVM_SET_REGS");
	if (ioctl(v->fd, KVM_GET_LAPIC, &lapic))
		die("KVM_GET_LAPIC");
	*(uint32_t *)(lapic.regs + 0xf0) = 0x1ff;
	if (ioctl(v->fd, KVM_SET_LAPIC, &lapic))
		die("KVM_SET_LAPIC");
	msr_set(v, 0x9e, GUEST_SMBASE + v->n * 0x10000);
	if (vm->vmx) {
		msr_set(v, 0x3a, 5);
		vmcs_fields(vm, v);
	} else {
		msr_set(v, 0xc0010117, page_of(v->n, 5));
	}
	set_runnable(v);
	if (run_vcpu(v, &ticked) != RAN_EXIT || v->run->exit_reason != KVM_EXIT_IO)
		die("the stub does not start");
}

/* Until it exits: what KVM does for the first time may take longer than what is told for busy. */
static enum ran run_first(struct vcpu *v)
{
	enum ran ran;
	bool ticked;
	int tries = 0;

	do
		ran = run_vcpu(v, &ticked);
	while (ran == RAN_BUSY && ++tries < FIRST_TRIES);
	return ran;
}

/* Touch memory in every context once, on a vCPU of its own, so that steps fault no more. */
static void warm_up(struct vm *vm)
{
	static const int svm[] = { CMD_VMRUN, CMD_NOP }, vmx[] = { CMD_VMXON, CMD_VMLAUNCH, CMD_NOP };
	struct vcpu v = { .n = 3 };

	vcpu_open(vm, &v, vcpu_id(v.n, ID_GROUPS));
	msr_set(&v, MSR_APIC_BASE, X2APIC);
	set_runnable(&v);
	if (run_first(&v) != RAN_EXIT || v.run->io.port != PORT_BOOT)
		die("warm-up does not start at the reset vector");
	vcpu_start(vm, &v);
	for (int i = 0; i < (vm->vmx ? 3 : 2); i++) {
		*mb32(&v, MB_CMD) = vm->vmx ? vmx[i] : svm[i];
		*mb64(&v, MB_ARG0) = *mb64(&v, MB_ARG1) = 0;
		if (vm->vmx) {
			*mb32(&v, MB_VMXON) = i > 0;
			*mb64(&v, MB_ARG1) = 0x16;
		}
		++*mb32(&v, MB_SEQ);
		if (run_first(&v) != RAN_EXIT)
			die("warm-up");
	}
	if (v.run->io.port != PORT_L2)
		die("warm-up does not reach L2");
	ioctl(v.fd, KVM_SMI, 0);
	if (run_first(&v) != RAN_EXIT || v.run->io.port != PORT_SMM)
		die("warm-up does not reach SMM");
	vcpu_close(&v);
}

/* All that KVM offers its guests. */
struct kvm_cpuid2 *supported_cpuid(int kvm)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUIDS * sizeof(cpuid->entries[0]));

	cpuid->nent = CPUIDS;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		die("KVM_GET_SUPPORTED_CPUID");
	return cpuid;
}

/* A VM without vCPUs; memory_reset and vm_begin make it ready for steps. */
void vm_create(struct vm *vm, int kvm, bool vmx)
{
	uint64_t room = 2 * GUEST_SIZE;
	uint8_t *map = checked(mmap(NULL, room, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "memory");

	vm->kvm = kvm;
	vm->vmx = vmx;
	vm->mem = (uint8_t *)(((uintptr_t)map + GUEST_SIZE - 1) & ~(GUEST_SIZE - 1UL));
	madvise(vm->mem, GUEST_SIZE, MADV_HUGEPAGE);
	vm->reset_page = checked(mmap(NULL, 0x1000, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), "memory");
	memory_init(vm);
	vm->fd = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		die("KVM_CREATE_VM");
	ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0))
		die("KVM_CREATE_IRQCHIP");
	for (int space = 0; space < 2; space++) {
		slot(vm, space << 16, 0, GUEST_SIZE, vm->mem);
		slot(vm, space << 16 | 1, RESET_PAGE, 0x1000, vm->reset_page);
	}
	vm->cpuid = supported_cpuid(kvm);
	warm_up(vm);
}

/* New vCPUs. Their ids are free as long as groups are. */
void vm_begin(struct vm *vm, int vcpus)
{
	int group = vm->groups++;

	vm->vcpus = vcpus;
	for (int n = 0; n < vcpus; n++) {
		vm->vcpu[n] = (struct vcpu){ .n = n };
		vcpu_open(vm, &vm->vcpu[n], vcpu_id(n, group));
		vcpu_start(vm, &vm->vcpu[n]);
	}
}
