"""What can go wrong, each with its exit code; the command line prints one sentence and leaves."""

from difflib import get_close_matches


class GenctlError(Exception):
    """A failure that the user can act on: its message says what happened and what to do next."""

    exit_code = 1


class UsageError(GenctlError):
    """Unknown model or option, a verb the model lacks, a name that exists, a refused resume."""

    exit_code = 2


class DataError(GenctlError):
    """Bad data or input, no network, a folder that cannot be written."""

    exit_code = 3


class CheckpointError(GenctlError):
    """A checkpoint that is missing, damaged, foreign, or of another model."""

    exit_code = 4


class Edited(CheckpointError):
    """A checkpoint whose header is sound and whose content is not what was sealed."""


class Diverged(GenctlError):
    """Training met a loss that is not finite."""

    exit_code = 5


class OutOfResources(GenctlError):
    """Out of memory or disk."""

    exit_code = 6


class RunInUse(GenctlError):
    """Another process trains in this run folder."""

    exit_code = 7


class Lost(GenctlError):
    """Another process of the same command has ended: it has the reason."""


class TimeUp(Exception):
    """--max-minutes ended the training: no failure."""


class Stopped(GenctlError):
    """A signal ended the training after its state was saved; 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def suggestion(word: str, words: list[str]) -> str:
    """Return " Did you mean vae?" for a near miss of one of the words, else ""."""
    near = get_close_matches(word.lower(), words, n=1)
    return f" Did you mean {near[0]}?" if near else ""
