/* init of the guest system, or a plain program on a host: reads schedules, has them run, prints.
 *
 * Input, one schedule after another, all of one vendor:  S number vmx vcpus nsteps aloud fresh,
 *   then nsteps lines  op on to arg0 arg1.   fresh: in a VM of its own.
 * Output: B number, R lines (schedule.c), E number ok|died|hung; D at the end. A second B with the
 *   same number takes back the lines since the first.
 * Where there is a second serial port, further batches come by it (line.c).
 */
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
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

static bool parse(FILE *in, struct schedule *s)
{
	if (fscanf(in, " S %d %d %d %d %d %d", &s->number, &s->vmx, &s->vcpus, &s->nsteps,
		   &s->aloud, &s->fresh) != 6)
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
		ended = worker_run(w);
		milliseconds = now_ms() - start;
	} while (ended == ENDED_TICKED && ++tries < TRIES);
	say(w->text, strlen(w->text));
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
	while (parse(in, w->schedule))
		run_one(w);
	say("D\n", 2);
	fclose(in);
}

int main(int argc, char **argv)
{
	bool init = getpid() == 1;
	struct worker worker = { .schedule = shared(sizeof(struct schedule)), .text = shared(ROOM),
				 .room = ROOM };
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
