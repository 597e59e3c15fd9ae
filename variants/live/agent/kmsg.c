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

/* Whether WARNs can be seen. */
bool kmsg_start(void)
{
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	lseek(kmsg, 0, SEEK_END);
	rearm();
	return kmsg >= 0;
}

/* The function of the first WARN since the last call, or "-". */
void kmsg_warning(char *name, size_t room)
{
	char line[1024];
	ssize_t n;

	snprintf(name, room, "-");
	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0) {
		char *at;
		bool old;

		line[n] = 0;
		at = strstr(line, "WARNING: ");
		if (!at || name[0] != '-')
			continue;
		old = !strncmp(at, "WARNING: CPU: ", 14);
		at = strstr(at, " at ");
		if (!at)
			continue;
		at += 4;
		if (old) /* FILE:LINE comes after the word, not before it as since 7.x */
			at += strcspn(at, " "), at += strspn(at, " ");
		snprintf(name, room, "%.*s", (int)strcspn(at, "+, \n"), at);
	}
	if (name[0] != '-')
		rearm();
}
