"""What every test starts from."""

import signal

# A shell ignores Ctrl-C for what it starts in the background, and children inherit that: tests of an
# interruption would wait for one that never comes.
signal.signal(signal.SIGINT, signal.default_int_handler)
