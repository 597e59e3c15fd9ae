/* KVM_RUN, with an end: a vCPU that sleeps is told from one that spins.
 *
 * A watcher of idle priority gets the processor when the vCPU's thread sleeps; it sees the thread
 * asleep and interrupts it: blocked. A timer ends a KVM_RUN that neither sleeps nor exits; busy is
 * what has had the processor for long enough, however much else the machine has to do.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef BUSY_US
#define BUSY_US 1000 /* in an emulator that counts instructions as time */
#endif
#define AGAIN_US 250
#define FIRST_TIMES 2 /* so much longer if slow: the first VMLAUNCH of a vCPU, and a WARN's text */
#define TICK_NS 4000000L
#define STEP_NS 300000L /* room for one step */

static int times_slower = 1;
static long busy_us = BUSY_US;
static _Atomic int armed, asleep;
static int state_fd, main_tid;

static void on_signal(int number) { (void)number; }

static bool main_sleeps(void)
{
	char text[256], *p;
	ssize_t n = pread(state_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return false;
	text[n] = 0;
	p = strrchr(text, ')');
	return p && p[2] == 'S';
}

static void *watch(void *unused)
{
	struct sched_param param = { 0 };
	int seen = 0;

	(void)unused;
	sched_setscheduler(0, SCHED_IDLE, &param);
	for (;;) {
		if (!armed) {
			seen = 0;
			syscall(SYS_futex, &armed, FUTEX_WAIT_PRIVATE, 0, NULL);
			continue;
		}
		seen = main_sleeps() ? seen + 1 : 0;
		if (seen >= 3 && armed) {
			asleep = 1;
			syscall(SYS_tgkill, getpid(), main_tid, SIGUSR1);
		}
		sched_yield();
	}
	return NULL;
}

void run_init(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	char path[64];
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	main_tid = syscall(SYS_gettid);
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", main_tid);
	state_fd = open(path, O_RDONLY);
	if (state_fd < 0 || pthread_create(&thread, NULL, watch, NULL))
		die("watcher");
}

/* KVM takes so many times longer for a step. */
void run_slower(int times)
{
	times_slower = times;
	busy_us = FIRST_TIMES * times * BUSY_US;
}

static long ns_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long tick_at;

static long since_tick(void)
{
	return (ns_of(CLOCK_MONOTONIC) - tick_at) % TICK_NS;
}

/* When the kernel's timer ticks: the coarse clock advances with it. */
void tick_init(void)
{
	long coarse = ns_of(CLOCK_MONOTONIC_COARSE), start = ns_of(CLOCK_MONOTONIC);

	do
		tick_at = ns_of(CLOCK_MONOTONIC);
	while (ns_of(CLOCK_MONOTONIC_COARSE) == coarse && tick_at - start < 2 * TICK_NS);
	tick_at -= TICK_NS / 100;
}

/* Let a tick that is due pass first, so that none falls into the step. */
static void after_tick(void)
{
	while (since_tick() < TICK_NS / 50 || since_tick() > TICK_NS - times_slower * STEP_NS)
		;
}

/* ticked: a timer fell into the step all the same, so KVM's loop may have taken an extra turn. */
enum ran run_vcpu(struct vcpu *v, bool *ticked)
{
	struct itimerval on = { { 0, AGAIN_US }, { 0, busy_us } }, off = { { 0, 0 }, { 0, 0 } };
	long start, phase, ran;
	bool interrupted = false;
	int r, error;

	asleep = 0;
	after_tick();
	ran = ns_of(CLOCK_THREAD_CPUTIME_ID);
	setitimer(ITIMER_REAL, &on, NULL);
	start = ns_of(CLOCK_MONOTONIC);
	phase = since_tick();
	armed = 1;
	syscall(SYS_futex, &armed, FUTEX_WAKE_PRIVATE, 1);
	for (;;) {
		r = ioctl(v->fd, KVM_RUN, 0);
		if (!r || (errno != EAGAIN && errno != EINTR) || asleep)
			break;
		if (errno == EINTR && ns_of(CLOCK_THREAD_CPUTIME_ID) - ran >= busy_us * 900)
			break; /* two clocks: a little less */
		interrupted |= errno == EINTR;
	}
	error = errno;
	armed = 0;
	setitimer(ITIMER_REAL, &off, NULL);
	if (r && error != EINTR)
		return RAN_ERROR;
	if (r)
		return asleep ? RAN_BLOCKED : RAN_BUSY;
	*ticked |= interrupted || phase + ns_of(CLOCK_MONOTONIC) - start >= TICK_NS;
	if (v->run->exit_reason == KVM_EXIT_SHUTDOWN)
		return RAN_SHUTDOWN;
	if (v->run->exit_reason != KVM_EXIT_IO || v->run->io.port == PORT_FAULT)
		return RAN_ERROR;
	return RAN_EXIT;
}
