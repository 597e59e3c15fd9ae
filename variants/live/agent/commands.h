/* What a step has the guest do, or the host. */
#ifndef COMMANDS_H
#define COMMANDS_H

#define CMD_NOP 0
#define CMD_HLT 1
#define CMD_STI 2
#define CMD_CLI 3
#define CMD_ICR 4
#define CMD_VMXON 5
#define CMD_VMXOFF 6
#define CMD_VMLAUNCH 7
#define CMD_VMCALL 8
#define CMD_RDMSR 9
#define CMD_CLGI 10
#define CMD_STGI 11
#define CMD_VMRUN 12
#define CMD_VMMCALL 13
#define CMD_RSM 14

#define OP_SMI 32
#define OP_NMI 33
#define OP_GET_MP_STATE 34
#define OP_SET_MP_STATE 35
#define OP_GET_VCPU_EVENTS 36
#define OP_SAVE_RESTORE 37

#endif
