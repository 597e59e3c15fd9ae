/* Runs the schedule and holds what each step showed against what is expected; TAP, as KVM's
 * selftests print. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define KSFT_PASS 0
#define KSFT_FAIL 1
#define KSFT_SKIP 4

#define TRIES 5

void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(KSFT_FAIL);
}

static void skip(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(KSFT_SKIP);
}

/* A module's parameter, a boolean as 0 or 1; "" if there is none. */
static const char *parameter(const char *module, const char *name)
{
	static char value[32];
	char path[128];
	FILE *in;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, name);
	value[0] = 0;
	in = fopen(path, "r");
	if (in && fscanf(in, "%31s", value) != 1)
		value[0] = 0;
	if (in)
		fclose(in);
	return !strcmp(value, "Y") ? "1" : !strcmp(value, "N") ? "0" : value;
}

/* Says which parameters are not what the expectations were seen with. */
static void note_parameters(const char *module, const char *usual)
{
	char *copy = strdup(usual), *rest = NULL;

	for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
		char *wanted = strchr(name, '=');
		const char *value;

		*wanted++ = 0;
		value = parameter(module, name);
		if (value[0] && strcmp(value, wanted))
			printf("# note: %s has %s=%s, not %s\n", module, name, value, wanted);
	}
	free(copy);
}

/* Whether KVM offers its guests VMX or SVM. */
static bool can_nest(int kvm)
{
	struct kvm_cpuid2 *cpuid = supported_cpuid(kvm);
	bool found = false;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		found |= VMX ? entry->function == 1 && entry->ecx & 1 << 5
			     : entry->function == 0x80000001 && entry->ecx & 1 << 2;
	}
	free(cpuid);
	return found;
}

/* With vGIF, STGI and CLGI do not exit to KVM. */
static bool sets_gif(void)
{
	for (unsigned i = 0; i < COUNT(points); i++)
		if (points[i].step.op == CMD_STGI || points[i].step.op == CMD_CLGI)
			return true;
	return false;
}

static bool expects_warning(void)
{
	for (unsigned i = 0; i < COUNT(points); i++)
		if (strstr(points[i].expected, " WARN "))
			return true;
	return false;
}

/* Runs the schedule in a new VM; whether a timer fell into a step. */
static bool run(int kvm, struct shown *shown)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	char warning[64];
	bool ticked = false;

	vm_create(vm, kvm, VMX);
	memory_reset(vm);
	vm_begin(vm, VCPUS);
	kmsg_warning(warning, sizeof(warning)); /* one of set-up is none of a step's */
	for (unsigned i = 0; i < COUNT(points); i++) {
		run_step(vm, &points[i].step, &shown[i]);
		ticked |= shown[i].ticked;
	}
	return ticked;
}

int main(void)
{
	static struct shown shown[COUNT(points)];
	int kvm = open("/dev/kvm", O_RDWR), tries = 0, failed = 0;
	const char *module = VMX ? "kvm_intel" : "kvm_amd";
	bool ticked;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (kvm < 0)
		skip("/dev/kvm cannot be opened");
	if (!can_nest(kvm))
		skip(VMX ? "this KVM has no nested VMX" : "this KVM has no nested SVM");
	if (!VMX && sets_gif() && !strcmp(parameter(module, "vgif"), "1"))
		skip("kvm_amd is loaded with vgif=1, so STGI does not exit");
	if (!kmsg_start() && expects_warning())
		skip("/dev/kmsg cannot be opened, and a WARN is expected");
	printf("1..%zu\n", COUNT(points));
	note_parameters("kvm", KVM_PARAMETERS);
	note_parameters(module, VMX ? KVM_INTEL_PARAMETERS : KVM_AMD_PARAMETERS);
	tick_init();
	run_init();
	do
		ticked = run(kvm, shown);
	while (ticked && ++tries < TRIES);
	if (ticked)
		printf("# a timer fell into a step each time\n");
	for (unsigned i = 0; i < COUNT(points); i++) {
		char saw[ROOM];
		bool ok;

		words_of(&points[i].step, &shown[i], saw);
		ok = !strcmp(saw, points[i].expected);
		failed += !ok;
		printf("%sok %u - %s: %s\n", ok ? "" : "not ", i + 1, points[i].yaml,
		       points[i].expected);
		if (!ok)
			printf("# expected: %s\n# saw: %s\n", points[i].expected, saw);
	}
	printf("# Totals: pass:%zu fail:%d xfail:0 xpass:0 skip:0 error:0\n",
	       COUNT(points) - failed, failed);
	return failed ? KSFT_FAIL : KSFT_PASS;
}
