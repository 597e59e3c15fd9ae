/* Steps of a schedule on /dev/kvm, and what each shows. */
#ifndef AGENT_H
#define AGENT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "guest.h"
#include "step.h"

/* What the modules are loaded with: other values may change what a schedule shows. */
#define KVM_PARAMETERS "halt_poll_ns=0 nx_huge_pages=0"
#define KVM_AMD_PARAMETERS "nested=1 vgif=0 avic=0 vls=0"
#define KVM_INTEL_PARAMETERS "nested=1 flexpriority=0 enable_apicv=0 preemption_timer=1"

#define ID_GROUPS 60 /* KVM_SET_LAPIC takes ids of 8 bits, and 255 is all vCPUs */

struct vcpu {
	int n, id, fd;
	struct kvm_run *run;
	uint8_t *mailbox;
	int dead; /* 1 shutdown, 2 error */
	bool smm, guest_mode, exit_shown;
};

struct vm {
	bool vmx;
	int fd, kvm, vcpus, groups; /* groups of ids used */
	uint8_t *mem, *reset_page;
	struct kvm_cpuid2 *cpuid;
	struct vcpu vcpu[MAX_VCPUS];
};

enum ran { RAN_EXIT, RAN_BLOCKED, RAN_BUSY, RAN_SHUTDOWN, RAN_ERROR };

struct nested {
	struct kvm_nested_state state;
	uint8_t room[16384];
};

#define MAX_TAKEN 64

/* What a step showed. */
struct shown {
	int ran; /* enum ran, or -1: no KVM_RUN */
	int dead, port, boot, mp_state, latched; /* the last two: -1 unless asked for */
	bool executed, woke, smm, vmxon, exit, ticked;
	unsigned flags; /* of KVM_GET_NESTED_STATE */
	uint64_t reason, qualification; /* of the exit */
	int activity; /* VMX: of L2, saved by the exit */
	unsigned ntaken;
	uint32_t taken[MAX_TAKEN];
	char warning[64]; /* or "-" */
};

/* The program's own: says what failed and why, and ends it. */
void die(const char *what) __attribute__((noreturn));

/* vm.c */
struct kvm_cpuid2 *supported_cpuid(int kvm);
void vm_create(struct vm *vm, int kvm, bool vmx);
void vcpu_open(struct vm *vm, struct vcpu *v, int id);
void vcpu_close(struct vcpu *v);
void vm_begin(struct vm *vm, int vcpus);

/* memory.c */
void memory_init(struct vm *vm);
void memory_reset(struct vm *vm);
uint64_t stub_symbol(int index);
uint64_t page_of(int n, int index);
enum { SYM_L1_START, SYM_L1_EXIT, SYM_L2_ENTRY, SYM_NMI, SYM_IRQS, SYM_FAULTS, SYM_BOOT16,
       SYM_BOOT16_END, SYM_RM_NMI, SYM_SMM, SYM_SMM_END };

/* vmcs.c */
void vmcs_fields(struct vm *vm, struct vcpu *v);

/* run.c */
void tick_init(void);
void run_init(void);
void run_slower(int times);
enum ran run_vcpu(struct vcpu *v, bool *ticked);

/* migrate.c */
int save_restore(struct vm *vm, struct vcpu *v);

/* step.c */
void step_begin(struct vm *vm, const struct step *step, struct shown *shown);
void step_take(struct vm *vm, const struct step *step, struct shown *shown);
void step_look(struct vm *vm, const struct step *step, struct shown *shown);
void run_step(struct vm *vm, const struct step *step, struct shown *shown);

/* kmsg.c */
bool kmsg_start(void);
void kmsg_warning(char *name, size_t room);

/* The ids of the vCPU number n; the warm-up's is in the group after the last. */
static inline int vcpu_id(int n, int group) { return n + MAX_VCPUS * group; }

static inline uint32_t *mb32(struct vcpu *v, int at) { return (uint32_t *)(v->mailbox + at); }
static inline uint64_t *mb64(struct vcpu *v, int at) { return (uint64_t *)(v->mailbox + at); }

#endif
