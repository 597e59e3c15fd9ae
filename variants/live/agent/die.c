/* The end of an agent that cannot go on. */
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void die(const char *what)
{
	dprintf(2, "agent: %s: %s\n", what, strerror(errno));
	_exit(1);
}
