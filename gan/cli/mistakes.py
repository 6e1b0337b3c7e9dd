"""A user's mistake ends in one line on stderr and a non-zero exit code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MISTAKES = ValueError, OSError, FloatingPointError


def joined(message: str) -> str:
    """Return a message without line breaks."""
    return " ".join(message.split())


def out_of_memory(error: RuntimeError) -> str | None:
    """Return the first line of an error of torch's allocators; None for another error."""
    return str(error).splitlines()[0] if "out of memory" in str(error) else None


@contextmanager
def mistakes_in_one_line(
    one_line: Callable[[str], str] = joined,
    explained: Callable[[RuntimeError], str | None] = out_of_memory,
    mistakes: tuple[type[Exception], ...] = MISTAKES,
) -> Iterator[None]:
    """Turn a user's mistake, or a machine's limit, into one line on stderr and the exit code 1.

    With `GAN_TRACEBACK` in the environment the error is raised as it is.

    Args:
        one_line: Makes one line of the message of a mistake.
        explained: Explains a `RuntimeError` in one line; None: it is a fault of the program, and raised.
        mistakes: The types of exceptions that are mistakes.

    Raises:
        SystemExit: With code 1 after a mistake, 128 + the signal's number after Ctrl-C or a closed pipe.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:  # of `gan study digits plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that nothing is said at the exit
        raise SystemExit(128 + signal.SIGPIPE) from None
    except mistakes as error:
        _exit(error, one_line(str(error)))
    except RuntimeError as error:
        if (explanation := explained(error)) is None:
            raise
        _exit(error, explanation)


def _exit(error: Exception, line: str) -> None:
    if os.environ.get("GAN_TRACEBACK"):
        raise error
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(1) from None
