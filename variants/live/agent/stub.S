/* The guest: one schedule step at a time, in L1, L2 and SMM, ending each with one OUT.
 * rbx points at the vCPU's mailbox, whose fields are MB_*. It runs at GUEST_STUB, wherever it is linked:
 * what is absolute in it is computed from there. */
#include "commands.h"
#include "guest.h"

	.macro ADDRESSES labels:vararg
	.irp label, \labels
	.quad \label - stub_start + GUEST_STUB
	.endr
	.endm

	.section .rodata
	.code64
	.globl stub_start, stub_end
	.balign 16
stub_start:
	ADDRESSES l1_start, l1_exit, l2_entry, nmi_stub, irq_stubs, fault_stubs
	ADDRESSES boot16, boot16_end, rm_nmi, smm_entry, smm_end

	.macro TAKE value
	mov MB_NTAKEN(%rbx), %ecx
	and $63, %ecx
	movl \value, MB_TAKEN(%rbx,%rcx,4)
	incl MB_NTAKEN(%rbx)
	.endm

	.macro BEGIN
	mov %eax, MB_EXECUTED(%rbx)
	.endm

	/* Instructions that L1 and L2 share. */
	.macro CONTEXT name, port
\name\()_out:
	out %al, $\port
\name\()_loop:
	mov MB_SEQ(%rbx), %eax
	cmp MB_DONE(%rbx), %eax
	je \name\()_out
	mov %eax, MB_DONE(%rbx)
	mov MB_CMD(%rbx), %ecx
	lea \name\()_table(%rip), %rdx
	jmp *(%rdx,%rcx,8)
\name\()_nop:
	BEGIN
	nop
	jmp \name\()_out
\name\()_hlt:
	BEGIN
	movl $1, MB_IN_HLT(%rbx)
	hlt
	mov MB_IN_HLT(%rbx), %edx
	or %edx, MB_WOKE(%rbx)
	movl $0, MB_IN_HLT(%rbx)
	jmp \name\()_loop
\name\()_sti:
	BEGIN
	sti
	nop			/* the STI shadow ends before the step's trap */
	out %al, $\port
	jmp \name\()_loop
\name\()_cli:
	BEGIN
	cli
	out %al, $\port
	jmp \name\()_loop
\name\()_icr:
	BEGIN
	mov $0x830, %ecx
	mov MB_ARG0(%rbx), %eax
	mov MB_ARG0+4(%rbx), %edx
	wrmsr
	out %al, $\port
	jmp \name\()_loop
	.endm

l1_start:
	mov %rsp, %rax
	pushq $0x10
	push %rax
	pushq $2
	pushq $0x08
	lea l1_loop(%rip), %rax
	push %rax
	iretq			/* also ends NMI blocking left over in an emulator */
	CONTEXT l1, PORT_L1
l1_exit:
	btrl $0, MB_SHOWN(%rbx)
	jc l1_loop
	out %al, $PORT_EXIT
	jmp l1_loop
l1_fail:
	out %al, $PORT_FAIL
	jmp l1_loop
l1_rdmsr:
	BEGIN
	mov $0x485, %ecx
	rdmsr
	and $0x100, %eax
	or $0x10000, %eax
	TAKE %eax
	jmp l1_out
l1_clgi:
	BEGIN
	clgi
	out %al, $PORT_L1
	jmp l1_loop
l1_stgi:
	BEGIN
	stgi
	out %al, $PORT_L1
	jmp l1_loop
l1_vmrun:
	mov %eax, %edx
	mov MB_VMCB(%rbx), %rax		/* whose page may yet have to be mapped: an exit */
	mov MB_ARG0(%rbx), %ecx
	mov %ecx, 0x0c(%rax)
	movq $0, 0x68(%rax)
	movq $0, 0xa8(%rax)
	movq $SENTINEL, 0x70(%rax)
	movq $2, 0x570(%rax)
	lea l2_entry(%rip), %rcx
	mov %rcx, 0x578(%rax)
	mov MB_L2_RSP(%rbx), %rcx
	mov %rcx, 0x5d8(%rax)
	movl $0, MB_IN_HLT(%rbx)
	mov %edx, MB_EXECUTED(%rbx)
	vmrun
	jmp l1_exit
l1_vmxon:
	cmpl $0, MB_VMXON(%rbx)
	jne l1_out
	BEGIN
	movl $0, MB_VMCS_READY(%rbx)
	vmxon MB_VMXON_PA(%rbx)
	out %al, $PORT_L1
	jmp l1_loop
l1_vmxoff:
	cmpl $0, MB_VMXON(%rbx)
	je l1_out
	BEGIN
	vmxoff
	out %al, $PORT_L1
	jmp l1_loop
	.macro VMW field, value
	mov $\field, %eax
	mov \value, %rdx
	vmwrite %rdx, %rax
	.endm
l1_vmlaunch:
	cmpl $0, MB_VMXON(%rbx)
	je l1_out
	BEGIN
	cmpl $0, MB_VMCS_READY(%rbx)
	jne 2f
	vmclear MB_VMCS_PA(%rbx)
	vmptrld MB_VMCS_PA(%rbx)
	lea MB_FIELDS(%rbx), %rsi
1:	mov (%rsi), %rax
	cmp $-1, %rax
	je 3f
	mov 8(%rsi), %rdx
	vmwrite %rdx, %rax
	jbe l1_fail
	add $16, %rsi
	jmp 1b
3:	movl $1, MB_VMCS_READY(%rbx)
2:	lea l2_entry(%rip), %rcx
	VMW 0x681e, %rcx
	VMW 0x681c, MB_L2_RSP(%rbx)
	VMW 0x6820, $2
	VMW 0x4826, MB_ARG0(%rbx)
	VMW 0x4000, MB_ARG1(%rbx)
	VMW 0x4824, $0
	VMW 0x4016, $0
	VMW 0x6822, $0
	VMW 0x6c14, %rsp
	xor %ecx, %ecx
	cmpl $1, MB_ARG0(%rbx)	/* L2 starts in HLT */
	sete %cl
	mov %ecx, MB_IN_HLT(%rbx)
	cmpl $0, MB_RESUME(%rbx)
	jne 4f
	vmlaunch
	jmp l1_fail
4:	vmresume
	jmp l1_fail
	.balign 8
l1_table:
	ADDRESSES l1_nop, l1_hlt, l1_sti, l1_cli, l1_icr, l1_vmxon, l1_vmxoff, l1_vmlaunch
	ADDRESSES l1_out, l1_rdmsr, l1_clgi, l1_stgi, l1_vmrun, l1_out, l1_out

l2_entry:
	mov MB_IN_HLT(%rbx), %edx
	or %edx, MB_WOKE(%rbx)
	movl $0, MB_IN_HLT(%rbx)
	jmp l2_loop		/* an L2 that started halted has a step to take when it wakes */
	CONTEXT l2, PORT_L2
l2_vmcall:
	BEGIN
	vmcall
	jmp l2_out
l2_vmmcall:
	BEGIN
	vmmcall
	jmp l2_out
	.balign 8
l2_table:
	ADDRESSES l2_nop, l2_hlt, l2_sti, l2_cli, l2_icr, l2_out, l2_out, l2_out
	ADDRESSES l2_vmcall, l2_out, l2_out, l2_out, l2_out, l2_vmmcall, l2_out

	/* A SIPI without a reset leaves long mode with the start vector as CS: no descriptor has
	 * that selector, so IRET could not return to it. */
	.macro MEND_CS
	cmpq $0x08, 8(%rsp)
	je 1f
	push %rax
	mov 16(%rsp), %rax
	mov %eax, MB_START_CS(%rbx)
	movq $0x08, 16(%rsp)
	pop %rax
1:
	.endm

nmi_stub:
	push %rcx
	movl $0, MB_IN_HLT(%rbx)
	TAKE $0x102
	pop %rcx
	MEND_CS
	iretq
	.balign 16
fault_stubs:
	.set n, 0
	.rept 32
	.balign 16
	movl $(n + 1), MB_FAULT(%rbx)
	jmp fault
	.set n, n + 1
	.endr
fault:
	out %al, $PORT_FAULT
	jmp fault
	.balign 16
irq_stubs:
	.set n, 0
	.rept 256
	.balign 16
	push %rax
	mov $n, %eax
	jmp irq
	.set n, n + 1
	.endr
irq:	push %rcx
	push %rdx
	movl $0, MB_IN_HLT(%rbx)
	TAKE %eax
	mov $0x80b, %ecx
	xor %eax, %eax
	xor %edx, %edx
	wrmsr
	pop %rdx
	pop %rcx
	pop %rax
	MEND_CS
	iretq

	/* Copied to BOOT16 in segment 0: start code for SIPI and reset. ax says where from. */
	.code16
boot16:
	jmp 1f			/* 2 bytes: page 0 jumps here in real mode, behind it in long mode */
	.code64
	movzwl %ax, %edi	/* a SIPI without a reset before it (KVM_SET_MP_STATE) */
	cmp $0x08, %edi
	jne 2f
	mov MB_START_CS(%rbx), %edi
2:	mov $GUEST_PAGES, %esp
	pushq $0x08
	pushq $(boot64 - stub_start + GUEST_STUB)
	lretq
	.code16
1:	movzwl %ax, %edi
	lgdtl BOOT_GDTR
	mov BOOT_CR4, %eax
	mov %eax, %cr4
	mov $GUEST_PT, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	mov BOOT_EFER, %eax
	xor %edx, %edx
	wrmsr
	mov $0x80000031, %eax
	mov %eax, %cr0
	ljmpl $0x08, $(boot64 - stub_start + GUEST_STUB)
rm_nmi:				/* the NMI handler of real mode */
	pushal
	mov $0x802, %ecx
	rdmsr
	and $(MAX_VCPUS - 1), %eax
	incl BOOT_NMIS(,%eax,4)	/* segments end at 64 KiB here: boot64 passes it on */
	popal
	iret
boot16_end:
	.code64
boot64:
	mov $0x10, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov %eax, %fs
	mov %eax, %gs
	lidt BOOT_IDTR
	andb $0xfd, GUEST_GDT+0x18+5
	mov $0x18, %eax
	ltr %ax
	mov $0x802, %ecx
	rdmsr
	and $(MAX_VCPUS - 1), %eax
	mov %eax, %esi
	shl $12, %eax
	lea GUEST_MB(%rax), %ebx
1:	cmpl $0, BOOT_NMIS(,%rsi,4)
	je 2f
	decl BOOT_NMIS(,%rsi,4)
	TAKE $0x102
	jmp 1b
2:	mov MB_L1_RSP(%rbx), %rsp
	mov %edi, MB_BOOT(%rbx)
	mov $0x80f, %ecx
	mov $0x1ff, %eax
	xor %edx, %edx
	wrmsr
	movl $0, MB_SHOWN(%rbx)
	out %al, $PORT_BOOT
	cmpl $0, MB_IN_L2(%rbx)
	jne l2_loop
	jmp l1_loop

	/* Copied to each vCPU's SMBASE + 0x8000; the mailbox address is patched in. */
	.code16
smm_entry:
	mov $0x11223344, %ebx
	movl $0, MB_IN_HLT(%ebx)
smm_out:
	out %al, $PORT_SMM
smm_loop:
	movl MB_SEQ(%ebx), %eax
	cmpl MB_DONE(%ebx), %eax
	je smm_out
	movl %eax, MB_DONE(%ebx)
	movl MB_CMD(%ebx), %ecx
	cmp $CMD_NOP, %ecx
	je 1f
	cmp $CMD_HLT, %ecx
	je 2f
	cmp $CMD_STI, %ecx
	je 3f
	cmp $CMD_CLI, %ecx
	je 4f
	cmp $CMD_ICR, %ecx
	je 5f
	cmp $CMD_RSM, %ecx
	jne smm_out
	movl %eax, MB_EXECUTED(%ebx)
	rsm
1:	movl %eax, MB_EXECUTED(%ebx)
	jmp smm_out
2:	movl %eax, MB_EXECUTED(%ebx)
	movl $1, MB_SMM_HLT(%ebx)
	hlt
	movl MB_SMM_HLT(%ebx), %edx
	orl %edx, MB_WOKE(%ebx)
	movl $0, MB_SMM_HLT(%ebx)
	jmp smm_loop
3:	movl %eax, MB_EXECUTED(%ebx)
	sti
	nop
	out %al, $PORT_SMM
	jmp smm_loop
4:	movl %eax, MB_EXECUTED(%ebx)
	cli
	jmp smm_out
5:	movl %eax, MB_EXECUTED(%ebx)
	mov $0x830, %ecx
	movl MB_ARG0(%ebx), %eax
	movl MB_ARG0+4(%ebx), %edx
	wrmsr
	jmp smm_out
smm_end:
stub_end:
	.code64
	.previous
