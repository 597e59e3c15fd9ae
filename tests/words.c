/* After a reproducer: raw steps as numbers, and the words that it has for each, a line each. */
#undef main
int main(void)
{
	struct step step = { 0 };
	struct shown shown;
	char text[ROOM];
	int executed, woke, smm, vmxon, exit;

	for (;;) {
		memset(&shown, 0, sizeof(shown));
		if (scanf("%d %d %d %d %d %d %d %d %d %d %d %u %d %lx %lx %d %63s %u", &step.op,
			  &shown.ran, &shown.dead, &shown.port, &shown.boot, &shown.mp_state,
			  &shown.latched, &executed, &woke, &smm, &vmxon, &shown.flags, &exit,
			  &shown.reason, &shown.qualification, &shown.activity, shown.warning,
			  &shown.ntaken) != 18)
			return 0;
		shown.executed = executed, shown.woke = woke, shown.smm = smm;
		shown.vmxon = vmxon, shown.exit = exit;
		for (unsigned i = 0; i < shown.ntaken; i++)
			if (scanf("%x", &shown.taken[i]) != 1)
				return 1;
		words_of(&step, &shown, text);
		puts(text);
		fflush(stdout);
	}
}
