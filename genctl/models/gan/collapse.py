"""Does a model without a likelihood still make different images? A look after each epoch, in plain words.

A generator that has collapsed makes few images, or lacks classes, while its loss looks well; a discriminator that
ranks every pair rightly teaches it nothing.
"""

from __future__ import annotations

from torch import Tensor

from ...data import Images
from ...data.nearest import spread, vote

SAMPLES = 500  # generated images that are looked at
PAIRED = 64  # of them, and as many real ones, whose distances are compared
VOTERS = 5_000  # real images that name a sample's class
LEAST_SPREAD = 0.25  # of the real images' mean distance
SURE = 0.99  # share of pairs that D ranks rightly
COMMON = 20  # expected samples of a class, below which its absence says little
LOST = 0.25  # of the expected samples: not 0, for neighbours err


def look(samples: Tensor, real: Images, d_accuracy: float | None = None) -> tuple[dict[str, float], list[str]]:
    """Return what to log of samples [SAMPLES, C, H, W] in [0, 1] beside real images, and a sentence per alarm.

    The neighbours are looked for where the samples are: on a CPU the search takes longer than a GPU's epoch.
    """
    found, alarms = {}, []
    real_spread = spread(real.choose(PAIRED).pixels / 255)
    if real_spread > 0:  # images that are all the same have none to compare with
        found["sample_spread"] = spread(samples[:PAIRED].cpu()) / real_spread
    if not found.get("sample_spread", 1.0) >= LEAST_SPREAD:
        alarms.append(
            f"the samples differ by {found['sample_spread']:.0%} of what real images do: G has collapsed, or just begun"
        )
    if d_accuracy is not None and d_accuracy > SURE:
        alarms.append(f"D ranked {d_accuracy:.1%} of all pairs rightly, so G learns little from it")
    shares = class_shares(samples, real)
    if shares:
        found["smallest_class"] = min(share for share, _ in shares.values())
    lost = [str(label) for label, (share, expected) in shares.items() if share < LOST * expected]
    if lost:
        alarms.append(f"of {len(samples)} samples hardly any looks like class {', '.join(lost)}: G lacks modes")
    return found, alarms


def class_shares(samples: Tensor, real: Images) -> dict[int, tuple[float, float]]:
    """Return each common class's share of the samples, by a vote of near real images, and of the real images."""
    if real.labels is None:
        return {}
    expected = real.labels.bincount() / len(real)
    common = (expected * len(samples) >= COMMON).nonzero().flatten().tolist()
    voters = real.choose(VOTERS) if common else None
    if voters is None or voters.labels is None:
        return {}
    votes, _ = vote(samples, voters.pixels.to(samples.device), voters.labels.to(samples.device))
    shares = votes.cpu().bincount(minlength=len(expected)) / len(samples)
    return {label: (shares[label].item(), expected[label].item()) for label in common}
