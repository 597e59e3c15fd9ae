/* All of guest memory, held against that of a VM that has never run: for tests/live. */
#include "batch.h"

#include <string.h>
#include <unistd.h>

void memory_compare(struct vm *vm)
{
	static uint8_t mem[GUEST_SIZE], reset_page[0x1000];
	struct vm fresh = { .vmx = vm->vmx, .mem = mem, .reset_page = reset_page };

	memory_init(&fresh);
	if (memcmp(vm->mem, mem, sizeof(mem)) ||
	    memcmp(vm->reset_page, reset_page, sizeof(reset_page))) {
		int at = 0;

		while (at < GUEST_SIZE && vm->mem[at] == mem[at])
			at++;
		dprintf(2, "agent: memory of an earlier schedule at %x\n", at);
		_exit(1);
	}
}
