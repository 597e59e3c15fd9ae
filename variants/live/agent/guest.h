/* The guest's memory map, mailbox and ports: shared by the stub and the host's side. */
#ifndef GUEST_H
#define GUEST_H

#define MAX_VCPUS 4 /* a power of two: an id modulo this is the vCPU number */
#define GUEST_SIZE 0x200000
#define BOOT16 0x500
#define BOOT_CR4 0x700
#define BOOT_EFER 0x704
#define BOOT_GDTR 0x708
#define BOOT_IDTR 0x710
#define BOOT_NMIS 0x720 /* NMIs taken in real mode, by vCPU number */
#define GUEST_STUB 0x100000
#define GUEST_PT 0x110000
#define GUEST_GDT 0x114000
#define GUEST_IDT 0x115000
#define GUEST_TSS 0x116000
#define GUEST_MSRPM 0x118000
#define GUEST_MB 0x120000
#define GUEST_PAGES 0x130000 /* 0x8000 a vCPU: stacks, VMCB or VMXON region and VMCS, hsave */
#define GUEST_SMBASE 0x180000 /* 0x10000 a vCPU, less the first 0x8000 */
#define SMM_SAVE_AREA 0xf000 /* from SMBASE: the page of it */
#define REAL_MODE_STACK 0xf000 /* where SP wraps to after a reset */
#define RESET_PAGE 0xfffff000UL

#define MB_SEQ 0
#define MB_DONE 4
#define MB_CMD 8
#define MB_IN_HLT 12
#define MB_WOKE 16
#define MB_NTAKEN 20
#define MB_BOOT 24
#define MB_FAULT 28
#define MB_ARG0 32
#define MB_ARG1 40
#define MB_VMXON 48
#define MB_RESUME 52
#define MB_VMCB 56
#define MB_VMXON_PA 64
#define MB_VMCS_PA 72
#define MB_VMCS_READY 80
#define MB_SMM_HLT 84
#define MB_EXECUTED 88
#define MB_SHOWN 92 /* L1 has not run since an exit that the agent has seen */
#define MB_L1_RSP 96
#define MB_L2_RSP 104
#define MB_IN_L2 112 /* where start code goes on: it cannot tell L1 from L2 */
#define MB_START_CS 116 /* CS of start code that an NMI interrupted */
#define MB_TAKEN 0x100
#define MB_FIELDS 0x400

#define SENTINEL 0x7777

#define PORT_L1 0x91
#define PORT_EXIT 0x92
#define PORT_FAIL 0x93
#define PORT_L2 0x94
#define PORT_SMM 0x95
#define PORT_BOOT 0x96
#define PORT_FAULT 0x97

#endif
