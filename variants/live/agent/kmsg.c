/* Kernel WARNs. */
#include "agent.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int kmsg = -1;

static void rearm(void)
{
	int fd = open("/sys/kernel/debug/clear_warn_once", O_WRONLY);

	if (fd >= 0) {
		if (write(fd, "1", 1) != 1)
			die("clear_warn_once");
		close(fd);
	}
}

void kmsg_start(void)
{
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	lseek(kmsg, 0, SEEK_END);
	rearm();
}

/* The function of the first WARN since the last call, or "-". */
void kmsg_warning(char *name, size_t room)
{
	char line[1024];
	ssize_t n;

	snprintf(name, room, "-");
	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0) {
		char *at, *end;

		line[n] = 0;
		at = strstr(line, "WARNING: CPU:");
		if (!at || name[0] != '-')
			continue;
		at = strstr(at, " at ");
		at = at ? strchr(at + 4, ' ') : NULL;
		if (!at)
			continue;
		end = strchr(++at, '+');
		snprintf(name, room, "%.*s", (int)(end ? end - at : 40), at);
	}
	if (name[0] != '-')
		rearm();
}
