/* init of a guest system that has the agent run its batch, traces KVM meanwhile, prints the trace. */
#include "batch.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing/"

static const char *const events[] = {
	"kvm_apic_ipi", "kvm_apic_accept_irq", "kvm_entry", "kvm_exit", "kvm_nested_vmrun",
	"kvm_nested_vmenter", "kvm_nested_intercepts", "kvm_nested_vmexit",
	"kvm_nested_vmexit_inject", "kvm_enter_smm", "kvm_smm_transition",
};

static void set(const char *name, const char *value)
{
	int fd = open(name, O_WRONLY);

	if (fd < 0)
		return; /* no event of this kernel's */
	if (write(fd, value, strlen(value)) < 0)
		dprintf(2, "X %s\n", name);
	close(fd);
}

static void print(int output, int trace)
{
	char part[4096];
	ssize_t n;

	while ((n = read(trace, part, sizeof(part))) > 0)
		for (ssize_t at = 0, done; at < n; at += done) {
			done = write(output, part + at, n - at);
			if (done < 0)
				return;
		}
}

int main(void)
{
	int output = system_init();
	char name[128];

	mount("trace", TRACING, "tracefs", 0, NULL);
	set(TRACING "buffer_size_kb", "8192");
	for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++) {
		snprintf(name, sizeof(name), TRACING "events/kvm/%s/enable", events[i]);
		set(name, "1");
	}
	if (!fork()) {
		dup2(open("/dev/null", O_WRONLY), 1);
		execl("/agent", "agent", "/batch", (char *)NULL);
		_exit(127);
	}
	wait(NULL);
	set(TRACING "tracing_on", "0");
	print(output, open(TRACING "trace", O_RDONLY));
	dprintf(output, "D\n");
	system_end(output);
}
