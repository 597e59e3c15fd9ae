/* The guest system, for its init: devices, modules, the serial port, the power. */
#define _GNU_SOURCE
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static void insert(int output, const char *name, const char *params)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (syscall(SYS_finit_module, fd, params, 0))
		dprintf(output, "X %s: %s\n", name, strerror(errno));
	close(fd);
}

/* An instrumented KVM has it made. */
static void inside_device(void)
{
	int fd = open("/sys/module/kvm/parameters/inside", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1", 1) != 1)
		die("/dev/" INSIDE_DEVICE);
	close(fd);
}

/* False: it is no serial port, or nothing is there. */
bool make_raw(int port)
{
	struct termios t;

	if (tcgetattr(port, &t))
		return false;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	cfsetspeed(&t, B115200);
	return !tcsetattr(port, TCSANOW, &t);
}

/* Mounts, KVM's modules, and the serial port, for standard error too: its descriptor. */
int system_init(void)
{
	int output;

	mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	output = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	make_raw(output);
	dup2(output, 2);
	insert(output, "/irqbypass.ko", "");
	insert(output, "/kvm.ko", KVM_PARAMETERS);
	inside_device();
	insert(output, "/kvm-amd.ko", KVM_AMD_PARAMETERS);
	insert(output, "/kvm-intel.ko", KVM_INTEL_PARAMETERS);
	return output;
}

void system_end(int output)
{
	tcdrain(output);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
