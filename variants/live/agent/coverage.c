/* Which blocks a schedule has reached. */
#include "batch.h"

#define SLOTS (2 * MAX_BLOCKS)

static unsigned number_of(struct coverage *c, uint32_t pc)
{
	unsigned slot = pc * 2654435761u % SLOTS;

	while (c->number[slot] && c->pc[c->number[slot] - 1] != pc)
		slot = (slot + 1) % SLOTS;
	if (!c->number[slot] && c->known < MAX_BLOCKS) {
		c->pc[c->known++] = pc;
		c->number[slot] = c->known;
	}
	return c->number[slot];
}

void coverage_add(struct coverage *c, const uint32_t *pc, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned number = number_of(c, pc[i]);

		if (number)
			c->hit[(number - 1) / 8] |= 1 << (number - 1) % 8;
	}
}

/* The C line: main.c says what it has. */
void coverage_put(struct coverage *c, FILE *out)
{
	fprintf(out, "C ");
	for (unsigned i = c->told; i < c->known; i++)
		fprintf(out, "%x,", c->pc[i]);
	fprintf(out, " ");
	for (unsigned i = 0; i < (c->known + 7) / 8; i++)
		fprintf(out, "%02x", c->hit[i]);
	fprintf(out, "\n");
	c->told = c->known;
}
