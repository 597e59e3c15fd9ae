/* init of a guest system that runs the programs /reproducer-0, /reproducer-1, .. one by one. */
#include "batch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int output = system_init(), status;
	char name[32];

	for (int number = 0;; number++) {
		snprintf(name, sizeof(name), "/reproducer-%d", number);
		if (access(name, X_OK))
			break;
		if (!fork()) {
			dup2(output, 1);
			execl(name, name, (char *)NULL);
			_exit(127);
		}
		wait(&status);
		dprintf(output, "status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	}
	dprintf(output, "D\n");
	system_end(output);
}
