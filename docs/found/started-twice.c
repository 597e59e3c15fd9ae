/* A processor that is sent INIT, and soon after it INIT and SIPI, starts at the SIPI's vector: does a
 * vCPU? These two may come while KVM still resets it for the first INIT.
 *
 *     gcc -O2 -pthread -o started-twice started-twice.c && ./started-twice
 *
 * Exit status, as of KVM's selftests: 0 it always does, 1 not always, 4 there is no KVM. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef TRIALS
#define TRIALS 1000
#endif
#define AP 1
#define VECTOR 0x10
#define INIT 5
#define SIPI 6
#define PORT 0x10
#define MEMORY 0x20000
#define LONG_ENOUGH 1.0 /* seconds for a vCPU to start */
#define LONGEST 400 /* microseconds between the first INIT and the second */

static int kvm, vm, ap;
static struct kvm_run *run;
static atomic_int starts;

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *what)
{
	int result = ioctl(fd, request, argument);

	if (result < 0)
		die(what);
	return result;
}

static void *map(size_t size, int flags, int fd)
{
	void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (mapped == MAP_FAILED)
		die("mmap");
	return mapped;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void send(unsigned int mode, unsigned int vector)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000 | AP << 12, .data = mode << 8 | vector };

	call(vm, KVM_SIGNAL_MSI, &msi, "KVM_SIGNAL_MSI");
}

/* Each start of the vCPU is an OUT; then it runs on. */
static void *run_ap(void *unused)
{
	for (;;) {
		if (ioctl(ap, KVM_RUN, NULL) < 0) {
			if (errno != EAGAIN && errno != EINTR)
				die("KVM_RUN");
		} else if (run->exit_reason == KVM_EXIT_IO) {
			starts++;
		} else {
			printf("Bail out! exit reason %u\n", run->exit_reason);
			exit(1);
		}
	}
	return unused;
}

static int started(int before)
{
	double end = now() + LONG_ENOUGH;

	while (starts == before && now() < end)
		usleep(100);
	return starts != before;
}

static void make_vm(void)
{
	static const unsigned char code[] = { 0xe6, PORT, 0xeb, 0xfe }; /* out; for ever */
	struct kvm_lapic_state lapic;
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	unsigned char *memory = map(MEMORY, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	memcpy(memory + VECTOR * 0x1000, code, sizeof(code));
	region.userspace_addr = (unsigned long)memory;
	vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000); /* real mode on VMX may need it */
	call(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	call(vm, KVM_CREATE_VCPU, (void *)0, "KVM_CREATE_VCPU");
	ap = call(vm, KVM_CREATE_VCPU, (void *)AP, "KVM_CREATE_VCPU");
	/* KVM's map of APICs has a vCPU once a VMM has set its APIC. */
	call(ap, KVM_GET_LAPIC, &lapic, "KVM_GET_LAPIC");
	call(ap, KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC");
	run = map(call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE"), MAP_SHARED, ap);
}

int main(void)
{
	int lost = 0, saved = 0;
	double shortest = LONGEST, longest = 0;
	pthread_t thread;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0) {
		printf("1..0 # SKIP /dev/kvm cannot be opened\n");
		return 4;
	}
	printf("1..1\n");
	make_vm();
	errno = pthread_create(&thread, NULL, run_ap, NULL);
	if (errno)
		die("pthread_create");
	for (int trial = 0; trial < TRIALS; trial++) {
		double apart = LONGEST * 1e-6 * trial / TRIALS, begin;
		int before;

		usleep(1000); /* for the vCPU to be back in the guest */
		before = starts;
		begin = now();
		send(INIT, 0);
		while (now() < begin + apart)
			;
		send(INIT, 0);
		send(SIPI, VECTOR);
		if (started(before))
			continue;
		lost++;
		shortest = apart * 1e6 < shortest ? apart * 1e6 : shortest;
		longest = apart * 1e6 > longest ? apart * 1e6 : longest;
		send(SIPI, VECTOR);
		saved += started(before);
	}
	printf("%sok 1 - %d of %d times the vCPU did not start\n", lost ? "not " : "", lost,
	       TRIALS);
	if (lost)
		printf("# INITs %.0f to %.0f microseconds apart; one more SIPI started it %d times\n",
		       shortest, longest, saved);
	return lost != 0;
}
