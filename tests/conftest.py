"""For all tests: one thread a process."""

import os

# Tests run side by side, and a process that was forked would wait for ever for threads that its parent had. To be said
# before torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"
