"""A warning is said once, and once more when it is over."""

from __future__ import annotations

from genctl.terminal.reporter import Reporter
from genctl.training.alarms import Alarms


class Heard(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_warning_is_said_once_and_when_it_is_over() -> None:
    heard = Heard()
    alarms = Alarms(heard)
    epochs = [
        ["the samples differ by 12% of real ones"],
        ["the samples differ by 9.5% of real ones", "class 3, 5 is lost"],  # the first with another figure
        ["class 3 is lost"],
        [],
        ["class 3 is lost"],
    ]
    for epoch, sentences in enumerate(epochs, start=1):
        alarms.hear(epoch, sentences)
    assert heard.said == [
        "warning: epoch 1: the samples differ by 12% of real ones.",
        "warning: epoch 2: class 3, 5 is lost.",
        "epoch 3: over is the warning of epoch 1: the samples differ by 12% of real ones.",
        "epoch 4: over is the warning of epoch 2: class 3, 5 is lost.",
        "warning: epoch 5: class 3 is lost.",
    ]
