/* init of the guest system, or a plain program on a host: reads schedules, runs each in a child.
 *
 * Input, one schedule after another:  S number vmx vcpus nsteps aloud, then nsteps lines
 *   op on to arg0 arg1.   Output: B number, R lines (step.c), E number ok|died|hung; D at the end.
 *   A second B with the same number takes back the lines since the first.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ROOM (4 << 20)
#define TICKED 3 /* exit status */
#define TRIES 5

static int output = 1, limit_s = 20;

static void say(const char *text, size_t size)
{
	while (size) {
		ssize_t n = write(output, text, size);

		if (n <= 0)
			return;
		text += n;
		size -= n;
	}
	tcdrain(output); /* no transmit interrupts in the next schedule */
}

static void insert(const char *name, const char *params)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (syscall(SYS_finit_module, fd, params, 0))
		dprintf(output, "X %s: %s\n", name, strerror(errno));
	close(fd);
}

static void make_raw(void)
{
	struct termios t;

	if (tcgetattr(output, &t))
		return;
	cfmakeraw(&t);
	cfsetspeed(&t, B115200);
	tcsetattr(output, TCSANOW, &t);
}

static void system_init(void)
{
	mkdir("/dev", 0755), mkdir("/proc", 0755), mkdir("/sys", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
	output = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
	make_raw();
	dup2(output, 2);
	insert("/irqbypass.ko", "");
	insert("/kvm.ko", "halt_poll_ns=0 nx_huge_pages=off");
	insert("/kvm-amd.ko", "nested=1 vgif=0 avic=0 vls=0");
	insert("/kvm-intel.ko", "nested=1 flexpriority=0 enable_apicv=0 preemption_timer=1");
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool parse(FILE *in, struct schedule *s)
{
	if (fscanf(in, " S %d %d %d %d %d", &s->number, &s->vmx, &s->vcpus, &s->nsteps,
		   &s->aloud) != 5)
		return false;
	if (s->vcpus > MAX_VCPUS || s->nsteps > MAX_STEPS)
		return false;
	for (int i = 0; i < s->nsteps; i++) {
		struct step *p = &s->steps[i];

		if (fscanf(in, "%d %d %d %u %u", &p->op, &p->on, &p->to, &p->arg0, &p->arg1) != 5)
			return false;
	}
	return true;
}

/* Runs a schedule in a child. Its lines stay in `text` until it has ended, as output would disturb
 * its steps; with `aloud` each is printed at once, to be there if the whole system dies in the next.
 * Returns whether a timer tick interfered; then nothing counts, unless it must do.
 */
static bool in_child(struct schedule *s, int kvm, char *text, bool must_do)
{
	int ends[2], status;
	long start = now_ms();
	pid_t child;
	bool hung, ticked;
	struct pollfd ended;

	dprintf(output, "B %d\n", s->number);
	text[0] = 0;
	if (pipe(ends))
		die("pipe");
	child = fork();
	if (!child) {
		FILE *out = s->aloud ? fdopen(output, "w") : fmemopen(text, ROOM, "w");

		_exit(run_schedule(s, kvm, out) ? TICKED : 0);
	}
	close(ends[1]); /* the child never writes: it ends, and with it the pipe */
	ended = (struct pollfd){ ends[0], POLLIN, 0 };
	hung = poll(&ended, 1, limit_s * 1000) <= 0;
	if (hung)
		kill(child, SIGKILL);
	close(ends[0]);
	waitpid(child, &status, 0);
	ticked = WIFEXITED(status) && WEXITSTATUS(status) == TICKED;
	if (ticked && !must_do)
		return true;
	say(text, strlen(text));
	snprintf(text, ROOM, "E %d %s %ld\n", s->number,
		 hung ? "hung" : status && !ticked ? "died" : "ok", now_ms() - start);
	say(text, strlen(text));
	return false;
}

int main(int argc, char **argv)
{
	static struct schedule s;
	bool init = getpid() == 1;
	char *text = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FILE *in;
	int kvm;

	if (text == MAP_FAILED)
		die("memory");
	if (init)
		system_init();
	in = fopen(argc > 1 && !init ? argv[1] : "/batch", "r");
	kvm = open("/dev/kvm", O_RDWR);
	if (!in || kvm < 0) {
		dprintf(output, "X %s: %s\n", in ? "/dev/kvm" : "batch", strerror(errno));
	} else {
		tick_init();
		while (parse(in, &s)) {
			int tries = 0;

			while (in_child(&s, kvm, text, ++tries == TRIES))
				;
		}
		say("D\n", 2);
	}
	if (init) {
		tcdrain(output);
		sync();
		reboot(RB_POWER_OFF);
		for (;;)
			pause();
	}
	return 0;
}
