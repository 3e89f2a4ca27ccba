"""Figures of neighbours among real images, against brute force and hand-made sets."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch import Tensor

from genctl.data.nearest import vote
from genctl.evaluation import precision_recall
from genctl.seeds import generator


def real_images(n: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return uint8 images [n, 1, 2, 3] and their labels."""
    noise = generator("real", n)
    return (
        torch.randint(0, 256, (n, 1, 2, 3), generator=noise, dtype=torch.uint8),
        torch.randint(0, classes, (n,), generator=noise),
    )


def queries(n: int) -> Tensor:
    return torch.rand(n, 1, 2, 3, generator=generator("queries"))


def brute_force(x: Tensor, pixels: Tensor, labels: Tensor, k: int, classes: int) -> numpy.ndarray:
    """Return how many of each image's k nearest real images are in each class, [N, classes]."""
    counts = numpy.zeros((len(x), classes), dtype=int)
    real = pixels.numpy().astype(float).reshape(len(pixels), -1) / 255
    for i, image in enumerate(x.double().numpy().reshape(len(x), -1)):
        for j in numpy.argsort(((real - image) ** 2).sum(1), kind="stable")[:k]:
            counts[i, labels[j]] += 1
    return counts


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("n", [40, 25_000])  # more than 10,000: in pieces
def test_the_vote_is_that_of_the_nearest(k, n):
    x, (pixels, labels) = queries(30), real_images(n)
    label, agreeing = vote(x, pixels, labels, k)
    counts = brute_force(x, pixels, labels, k, 3)
    assert agreeing.tolist() == counts.max(1).tolist()
    assert [counts[i, c] for i, c in enumerate(label.tolist())] == counts.max(1).tolist()
    assert len(set(label.tolist())) > 1


@pytest.mark.parametrize("place", [0, 9_999, 10_000, 24_999])
def test_an_image_finds_itself_in_any_piece(place):
    pixels, _ = real_images(25_000)
    labels = torch.zeros(25_000, dtype=torch.int64)
    pixels[place] = 255
    labels[place] = 2
    label, agreeing = vote(torch.ones(1, 1, 2, 3), pixels, labels, k=1)
    assert (label.tolist(), agreeing.tolist()) == ([2], [1])


def test_neighbours_of_several_pieces_vote_together():
    pixels = torch.full((20_003, 1, 2, 3), 255, dtype=torch.uint8)
    labels = torch.zeros(20_003, dtype=torch.int64)
    for place in (5, 10_005, 20_001):
        pixels[place], labels[place] = 0, 1
    label, agreeing = vote(torch.zeros(1, 1, 2, 3), pixels, labels, k=3)
    assert (label.tolist(), agreeing.tolist()) == ([1], [3])


def test_by_default_ten_neighbours_vote():
    pixels, _ = real_images(50)
    assert vote(queries(4), pixels, torch.zeros(50, dtype=torch.int64))[1].tolist() == [10] * 4


def test_fewer_real_images_than_neighbours_all_vote_once():
    pixels, _ = real_images(3)
    label, agreeing = vote(queries(4), pixels, torch.tensor([1, 1, 2]), k=10)
    assert label.tolist() == [1] * 4
    assert agreeing.tolist() == [2] * 4


def normal(*shape: int, purpose: str = "normal") -> Tensor:
    return torch.randn(*shape, generator=generator(purpose, *shape))


def means(real: Tensor, fake: Tensor, ks: tuple[int, int] = (3, 5)) -> dict[str, float]:
    return {name: term.mean().item() for name, term in precision_recall.neighbourhoods(real, fake, ks).items()}


def brute_neighbourhoods(real: numpy.ndarray, fake: numpy.ndarray, k: int, wide: int) -> dict[str, float]:
    def apart(x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
        return numpy.linalg.norm(x[:, None] - y[None], axis=2)

    def reach(x: numpy.ndarray, k: int) -> numpy.ndarray:
        return numpy.sort(apart(x, x), axis=1)[:, k]  # the nearest is the vector itself

    to_real = apart(fake, real)
    return {
        "precision": (to_real <= reach(real, k)).any(1).mean(),
        "recall": (to_real <= reach(fake, k)[:, None]).any(0).mean(),
        "density": (to_real <= reach(real, wide)).sum(1).mean() / wide,
        "coverage": (to_real.min(0) <= reach(real, wide)).mean(),
    }


@pytest.mark.parametrize("chunk", [1, 13, 1_000])
@pytest.mark.parametrize("ks", [(3, 5), (5, 2)])
def test_neighbourhoods_are_those_of_brute_force(monkeypatch, chunk, ks):
    monkeypatch.setattr(precision_recall, "CHUNK", chunk)
    real, fake = normal(60, 4).double(), 0.7 * normal(45, 4, purpose="fake").double() + 0.5
    found = means(real, fake, ks)
    assert found == pytest.approx(brute_neighbourhoods(real.numpy(), fake.numpy(), *ks))
    assert min(found["precision"], found["recall"], found["coverage"]) > 0
    assert max(found["precision"], found["recall"], found["coverage"]) < 1


def test_new_draws_of_the_same_kind_are_as_expected():
    found = means(normal(2_000, 8), normal(2_000, 8, purpose="fake"), (5, 5))
    assert found["density"] == pytest.approx(1, abs=0.1)
    assert found["coverage"] == pytest.approx(1 - 0.5**5, abs=0.02)  # Naeem et al. 2020, eq. 9, for many vectors


def test_a_sample_that_lacks_one_class_covers_that_much_less():
    centres = 100 * torch.eye(4)
    real, fake = normal(800, 4), normal(800, 4, purpose="fake")
    real += centres.repeat_interleave(200, 0)
    fake[:600] += centres[:3].repeat_interleave(200, 0)
    fake[600:] += centres[0]
    found = precision_recall.neighbourhoods(real, fake)
    assert found["coverage"][600:].sum() == 0 == found["recall"][600:].sum()
    assert found["coverage"].mean().item() == pytest.approx(0.75, abs=0.03)
    assert found["precision"].mean() > 0.85  # what is there is good


def test_a_sample_of_one_point_is_precise_and_covers_nothing():
    real = normal(500, 4)
    fake = real[:1].expand(500, 4) + 1e-4 * normal(500, 4, purpose="fake")
    found = means(real, fake)
    assert found["precision"] == 1
    assert found["coverage"] < 0.05
    assert found["recall"] < 0.01


def test_the_nearest_is_that_of_brute_force():
    x, (pixels, _) = real_images(30, 1)[0], real_images(12_000)
    found = precision_recall.nearest(x, pixels)
    apart = ((x.flatten(1)[:, None].double() - pixels.flatten(1)[None].double()) ** 2).sum(2)
    assert torch.allclose(found.double(), apart.min(1).values)


def test_a_copied_training_set_is_memorized_and_new_images_are_not():
    pixels, _ = real_images(1_500)
    train, test, new = pixels[:500], pixels[500:1_000], pixels[1_000:]
    real = precision_recall.nearest(test, train)
    assert precision_recall.memorized(precision_recall.nearest(train, train), real).mean() == 1
    assert precision_recall.memorized(real, real).mean().item() == pytest.approx(0.01, abs=0.003)
    assert precision_recall.memorized(precision_recall.nearest(new, train), real).mean() < 0.04
    half = torch.cat([train[:250], new[:250]])
    assert precision_recall.memorized(precision_recall.nearest(half, train), real).mean().item() == pytest.approx(
        0.5, abs=0.03
    )


@pytest.mark.slow
def test_gaussians_in_a_thousand_dimensions_have_the_published_figures():
    """The check of the authors' own package: 10,000 + 10,000 points, k = 5 for all four."""
    published = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
    sets = (normal(20_000, 1_000, purpose=f"set {i}").split(10_000) for i in range(5))
    found = [means(real, fake, (5, 5)) for real, fake in sets]
    for name, value in published.items():
        values = numpy.array([figures[name] for figures in found])
        assert abs(values.mean() - value) < 4 * values.std(ddof=1), name
