/* KVM seen from inside: the blocks that a step reaches, and messages that land in one. */
#include "batch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MODULES "/sys/module"
#define ICR_SHORTHAND (3 << 18)
#define ICR_TO_SELF (1 << 18)
#define TO_SELF -1
#define TO_ALL -2

static int device = -1;
static struct inside *inside;

/* Has KVM callbacks? */
bool inside_is_there(void)
{
	return !access("/dev/" INSIDE_DEVICE, F_OK);
}

void inside_open(void)
{
	if (device >= 0)
		return;
	device = open("/dev/" INSIDE_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		die("/dev/" INSIDE_DEVICE);
	inside = mmap(NULL, sizeof(*inside), PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
	if (inside == MAP_FAILED)
		die("mmap of /dev/" INSIDE_DEVICE);
}

/* Messages that are to land inside the next step of their targets. */
static struct armed {
	int target;
	uint32_t icr;
	struct landing landing;
} armed[INSIDE_MESSAGES];
static int narmed;

/* Nothing is left of the one before. */
void inside_schedule(void)
{
	narmed = 0;
}

static void set_vcpu(struct vcpu *v)
{
	if (ioctl(device, INSIDE_VCPU, v->fd))
		die("INSIDE_VCPU");
}

/* The vCPU gets a message now. */
static void land(struct vcpu *v, uint32_t icr)
{
	set_vcpu(v);
	if (ioctl(device, INSIDE_LAND, icr))
		die("INSIDE_LAND");
}

/* Not within a migration, for that is of two vCPUs. */
static void arrive(const struct armed *one, bool migration)
{
	struct inside_message *message = &inside->message[inside->messages++];

	*message = (struct inside_message){ .icr = one->icr, .places = one->landing.places,
					    .at = migration ? UINT32_MAX : one->landing.at,
					    .further = one->landing.further };
	memcpy(message->place, one->landing.place, sizeof(message->place));
}

/* Those to other vCPUs wait only while further ones are sent, as with the models
 * (variants/machine/machine.py: step).
 */
static void take_armed(struct vm *vm, const struct step *step, bool arming)
{
	int left = 0;

	inside->messages = 0;
	for (int i = 0; i < narmed; i++)
		if (armed[i].target == step->on)
			arrive(&armed[i], step->op == OP_SAVE_RESTORE);
		else if (arming)
			armed[left++] = armed[i];
		else
			land(&vm->vcpu[armed[i].target], armed[i].icr);
	narmed = left;
}

static void arm(struct vm *vm, const struct step *step, const struct landing *landing)
{
	for (int n = 0; n < vm->vcpus; n++) {
		if (n == step->on || step->to == TO_SELF || (step->to >= 0 && step->to != n))
			continue;
		if (narmed == INSIDE_MESSAGES)
			die("too many messages at once");
		armed[narmed++] = (struct armed){ n, step->arg0 & ~ICR_SHORTHAND, *landing };
	}
}

/* What is written to the ICR where messages to others land later. */
static uint64_t own_part(struct vm *vm, const struct step *step)
{
	uint32_t plain = step->arg0 & ~ICR_SHORTHAND;

	if (step->to == TO_SELF || step->to == TO_ALL || step->to == step->on)
		return plain | ICR_TO_SELF;
	return plain | (uint64_t)vcpu_id(vm->vcpus, ID_GROUPS) << 32; /* nobody's */
}

/* A step, watched; what has not landed within it arrives at its end. */
void run_step_inside(struct vm *vm, const struct schedule *s, int i, struct shown *shown,
		     struct seen *seen)
{
	const struct step *step = &s->steps[i];
	const struct landing *landing = &s->landings[i];
	struct vcpu *v = &vm->vcpu[step->on];

	take_armed(vm, step, landing->armed);
	step_begin(vm, step, shown);
	if (landing->armed)
		*mb64(v, MB_ARG0) = own_part(vm, step);
	set_vcpu(v);
	inside->count = 0;
	inside->on = 1;
	step_take(vm, step, shown);
	inside->on = 0;
	step_look(vm, step, shown);
	for (unsigned n = 0; n < inside->messages; n++)
		if (!inside->message[n].landed)
			land(v, inside->message[n].icr);
	if (landing->armed && shown->executed && shown->ran != -1)
		arm(vm, step, landing);
	*seen = (struct seen){ inside->count < INSIDE_ROOM ? inside->count : INSIDE_ROOM, inside->pc,
			       inside->messages, inside->message };
}

/* The lower half of where a module's section is; 0: there is none. */
uint32_t inside_address(const char *module, const char *section)
{
	char path[512], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), MODULES "/%s/sections/%s", module, section);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoull(text, NULL, 16);
}

static void put_sections(int output, const char *module)
{
	char path[512];
	struct dirent *entry;
	DIR *sections;

	snprintf(path, sizeof(path), MODULES "/%s/sections", module);
	sections = opendir(path);
	while (sections && (entry = readdir(sections)))
		if (!strncmp(entry->d_name, ".text", 5))
			dprintf(output, "M %s %s %x\n", module, entry->d_name,
				inside_address(module, entry->d_name));
	if (sections)
		closedir(sections);
}

/* Where the code of KVM's modules is, if it is instrumented. */
void inside_layout(int output)
{
	static const char *const modules[] = { "kvm", "kvm_amd", "kvm_intel" };

	if (!inside_is_there())
		return;
	for (unsigned i = 0; i < sizeof(modules) / sizeof(modules[0]); i++)
		put_sections(output, modules[i]);
}
