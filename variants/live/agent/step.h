/* A step of a schedule. */
#ifndef STEP_H
#define STEP_H

#include <stdint.h>

#include "commands.h"

struct step {
	int op, on; /* on: the vCPU that acts, or that the host acts on */
	int to; /* of CMD_ICR: a vCPU, or -1 self, -2 all, -3 others */
	uint32_t arg0, arg1;
};

#endif
