/* Further batches, by the second serial port: how many bytes, in decimal, a newline, the bytes.
 *
 * Neither the port nor the kernel holds back what comes too fast. So after each BLOCK, and after
 * the last byte, a byte goes back, and nothing more comes before it does (guests.py).
 */
#include "batch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#define BLOCK 2048

/* The port, or -1 if there is none. */
int line_open(void)
{
	int line = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (line < 0)
		return -1;
	if (!make_raw(line) || fcntl(line, F_SETFL, 0)) {
		close(line);
		return -1;
	}
	return line;
}

static bool read_whole(int line, char *at, size_t size)
{
	while (size) {
		ssize_t n = read(line, at, size);

		if (n <= 0)
			return false;
		at += n;
		size -= n;
	}
	return true;
}

/* Waits for a batch; NULL if none will come. The last one's text goes. */
FILE *line_batch(int line)
{
	static char *text;
	size_t size = 0;
	char digit;

	while (read_whole(line, &digit, 1) && digit != '\n')
		size = 10 * size + digit - '0';
	free(text);
	text = malloc(size);
	if (!size || !text)
		return NULL;
	for (size_t at = 0; at < size; at += BLOCK) {
		if (!read_whole(line, text + at, size - at < BLOCK ? size - at : BLOCK))
			return NULL;
		if (write(line, ".", 1) != 1)
			return NULL;
	}
	tcdrain(line); /* no interrupts in the first schedule */
	return fmemopen(text, size, "r");
}
