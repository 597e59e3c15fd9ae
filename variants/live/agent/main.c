/* init of the guest system, or a plain program on a host: reads schedules, has them run, prints.
 *
 * Input, one schedule after another, all of one vendor:
 *   S number vmx vcpus nsteps aloud fresh inside, then nsteps lines  op on to arg0 arg1 at.
 *   fresh: in a VM of its own. inside: which blocks of an instrumented KVM are reached. at: `-`,
 *   or where in the target's next step the write lands, as parse_at has it.
 * Output: B number, R lines (schedule.c), E number ok|died|hung; D at the end. A second B with the
 *   same number takes back the lines since the first.
 * With `inside`: M lines at the beginning, where KVM's modules are, and before each E a C line: the
 *   addresses of blocks that no schedule has reached before, which numbers them all, and in hex which
 *   this one has.
 * Where there is a second serial port, further batches come by it (line.c).
 */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ROOM (4 << 20)
#define TRIES 5

static int output = 1;

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

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* `-`, or AT, or AT+FURTHER, or either with @MODULE:SECTION+OFFSET,.. up to INSIDE_PLACES. */
static void parse_at(char *text, struct landing *p)
{
	char *place = strchr(text, '@'), *end = text;

	p->armed = text[0] != '-';
	p->at = p->armed ? strtoul(text, &end, 10) : 0;
	p->further = *end == '+' ? strtoul(end + 1, NULL, 10) : 0;
	p->places = 0;
	for (place = place ? strtok(place + 1, ",") : NULL; place && p->places < INSIDE_PLACES;
	     place = strtok(NULL, ",")) {
		char *section = strchr(place, ':'), *offset = strchr(place, '+');

		*section++ = *offset++ = 0;
		p->place[p->places++] = inside_address(place, section) + strtoul(offset, NULL, 16);
	}
}

static bool parse(FILE *in, struct schedule *s)
{
	if (fscanf(in, " S %d %d %d %d %d %d %d", &s->number, &s->vmx, &s->vcpus, &s->nsteps,
		   &s->aloud, &s->fresh, &s->inside) != 7)
		return false;
	if (s->vcpus > MAX_VCPUS || s->nsteps > MAX_STEPS)
		return false;
	for (int i = 0; i < s->nsteps; i++) {
		struct step *p = &s->steps[i];
		char at[1024];

		if (fscanf(in, "%d %d %d %u %u %1023s", &p->op, &p->on, &p->to, &p->arg0,
			   &p->arg1, at) != 6)
			return false;
		parse_at(at, &s->landings[i]);
	}
	return true;
}

static void say_coverage(struct coverage *c)
{
	static char text[MAX_BLOCKS * 12];
	FILE *out = fmemopen(text, sizeof(text), "w");

	coverage_put(c, out);
	fclose(out);
	say(text, strlen(text));
}

/* Runs a schedule. Its lines stay in the text until it has ended, as output would disturb its
 * steps; with `aloud` each is printed at once, to be there if the whole system dies in the next.
 * Where a timer tick interfered nothing counts, unless that goes on.
 */
static void run_one(struct worker *w)
{
	static const char *const words[] = { "ok", "ok", "died", "hung" };
	int number = w->schedule->number, tries = 0;
	enum ended ended;
	char line[64];
	long start, milliseconds;

	do {
		snprintf(line, sizeof(line), "B %d\n", number);
		say(line, strlen(line));
		start = now_ms();
		memset(w->coverage->hit, 0, sizeof(w->coverage->hit));
		ended = worker_run(w);
		milliseconds = now_ms() - start;
	} while (ended == ENDED_TICKED && ++tries < TRIES);
	say(w->text, strlen(w->text));
	if (w->schedule->inside & COVERAGE)
		say_coverage(w->coverage);
	snprintf(line, sizeof(line), "E %d %s %ld\n", number, words[ended], milliseconds);
	say(line, strlen(line));
}

/* Memory that children share. */
static void *shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		die("memory");
	return at;
}

static void run_batch(struct worker *w, FILE *in)
{
	tick_init();
	memset(w->coverage, 0, sizeof(*w->coverage));
	inside_layout(output);
	while (parse(in, w->schedule))
		run_one(w);
	say("D\n", 2);
	fclose(in);
}

int main(int argc, char **argv)
{
	bool init = getpid() == 1;
	struct worker worker = { .schedule = shared(sizeof(struct schedule)), .text = shared(ROOM),
				 .coverage = shared(sizeof(struct coverage)), .room = ROOM };
	int line = -1;
	FILE *in;

	if (init) {
		output = system_init();
		line = line_open();
	}
	signal(SIGPIPE, SIG_IGN); /* of a worker that has died */
	in = fopen(argc > 1 && !init ? argv[1] : "/batch", "r");
	worker.kvm = open("/dev/kvm", O_RDWR);
	worker.output = output;
	if (!in || worker.kvm < 0) {
		dprintf(output, "X %s: %s\n", in ? "/dev/kvm" : "batch", strerror(errno));
	} else {
		run_batch(&worker, in);
		while (line >= 0 && (in = line_batch(line))) {
			worker_stop(&worker);
			run_batch(&worker, in);
		}
	}
	if (init)
		system_end(output);
	return 0;
}
