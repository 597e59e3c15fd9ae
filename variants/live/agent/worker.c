/* A child that runs schedules, one at a time, in a VM that it keeps for several of them.
 *
 * It dies with its VM where a schedule may have left something behind; the next one begins anew.
 */
#include "batch.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_MS 20000 /* of one schedule */
#define INSTRUMENTED 8 /* times slower */

static void work(struct worker *w, int asked, int answer)
{
	static struct vm vm;
	struct schedule *s = w->schedule;
	char came_to;

	run_init();
	if (inside_is_there())
		run_slower(INSTRUMENTED);
	vm_create(&vm, w->kvm, s->vmx);
	kmsg_start();
	while (read(asked, &came_to, 1) == 1) {
		FILE *out = s->aloud ? fdopen(dup(w->output), "w") : fmemopen(w->text, w->room, "w");

		memory_reset(&vm);
		if (s->inside)
			inside_open();
#ifdef COMPARE_MEMORY
		memory_compare(&vm);
#endif
		came_to = run_schedule(&vm, s, w->coverage, out);
		fclose(out);
		if (write(answer, &came_to, 1) != 1)
			break;
	}
	_exit(0);
}

static void start(struct worker *w)
{
	int questions[2], answers[2];

	if (pipe(questions) || pipe(answers))
		die("pipe");
	w->child = fork();
	if (w->child < 0)
		die("fork");
	if (!w->child) {
		close(questions[1]);
		close(answers[0]);
		work(w, questions[0], answers[1]);
	}
	close(questions[0]);
	close(answers[1]);
	w->ask = questions[1];
	w->answers = answers[0];
	w->groups = 0;
}

/* Its VM ends, if there is one. */
void worker_stop(struct worker *w)
{
	if (!w->child)
		return;
	close(w->ask);
	close(w->answers);
	waitpid(w->child, NULL, 0);
	w->child = 0;
}

/* The groups of ids that it takes. */
static int groups_of(struct schedule *s)
{
	int groups = 1;

	for (int i = 0; i < s->nsteps; i++)
		groups += s->steps[i].op == OP_SAVE_RESTORE;
	return groups;
}

/* Runs the schedule; its lines are in the text. */
enum ended worker_run(struct worker *w)
{
	struct schedule *s = w->schedule;
	struct pollfd answer;
	char came_to = 0;
	bool hung, answered;

	if (s->fresh || w->groups + groups_of(s) > ID_GROUPS)
		worker_stop(w);
	if (!w->child)
		start(w);
	w->groups += groups_of(s);
	w->text[0] = 0;
	answer = (struct pollfd){ w->answers, POLLIN, 0 };
	hung = write(w->ask, "", 1) == 1 && poll(&answer, 1, LIMIT_MS) <= 0;
	if (hung)
		kill(w->child, SIGKILL);
	answered = !hung && read(w->answers, &came_to, 1) == 1;
	if (!answered || came_to || s->fresh || w->groups == ID_GROUPS)
		worker_stop(w);
	return hung ? ENDED_HUNG : !answered ? ENDED_DIED
		: came_to & TICKED ? ENDED_TICKED : ENDED_OK;
}
