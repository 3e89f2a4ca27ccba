"""What a model warns of after its epochs: each warning is said once, and once more when it is over."""

from __future__ import annotations

from collections.abc import Iterable

from ..runs.alarms import Alarm
from ..terminal.reporter import Reporter


def wording(sentence: str) -> str:
    """Return what a warning has in common with that of another epoch: all but its figures."""
    return "".join(filter(str.isalpha, sentence))


class Alarms:
    """The warnings that hold now. A resume starts with none: who reads it may not have heard them."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.since: dict[str, tuple[int, str]] = {}  # wording -> the epoch in which it was said, and how

    def hear(self, epoch: int, sentences: Iterable[str], step: int = 0) -> list[Alarm]:
        """Say the warnings of an epoch that are new, and those of before that are over; return them."""
        heard = []
        now = {wording(sentence): sentence for sentence in sentences}
        for key in [key for key in self.since if key not in now]:
            first, sentence = self.since.pop(key)
            self.reporter.say(f"epoch {epoch}: over is the warning of epoch {first}: {sentence}.")
            heard.append(Alarm(epoch, step, sentence, over=True))
        for key in [key for key in now if key not in self.since]:
            self.since[key] = epoch, now[key]
            self.reporter.say(f"warning: epoch {epoch}: {now[key]}.")
            heard.append(Alarm(epoch, step, now[key]))
        return heard
