"""Clusters of like images: how they are found, what they are in a latent, and what the bound counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from genctl.config import Tempered
from genctl.errors import UsageError
from genctl.evaluation.bounds import round_trip
from genctl.generation import sampling
from genctl.generation.latent_paths import linear, spherical
from genctl.models.base import build
from genctl.models.realnvp.clusters import Clusters, k_means, nearest
from genctl.models.realnvp.config import CLUSTERS, RealNVPConfig
from genctl.models.realnvp.model import RealNVP
from genctl.seeds import generator
from genctl.testing.cases import cases_of, perturb, run, start

C = 4
SMALL = {"arch": "mlp", "depth": 2, "hidden": 16, "dequantization": "uniform"}
PI = torch.tensor([0.5, 0.3, 0.15, 0.05])


def pixels(n: int, *shape: int) -> Tensor:
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator("pixels"))


def flow(shape: tuple[int, ...] = (1, 4, 4), clusters: int = C) -> RealNVP:
    """Return a flow of clusters in float64 whose weights are away from their start, with shares PI."""
    torch.manual_seed(0)
    model = build(RealNVPConfig(**SMALL, clusters=clusters), shape)
    assert isinstance(model, RealNVP) and model.clusters is not None
    perturb(model)
    model.initialize(pixels(300, *shape))
    with torch.no_grad():
        model.clusters.logits.copy_(PI.log())
    return model.double().eval()


def given_class(model: RealNVP) -> RealNVP:
    """Return the flow of p(x|c) with the same weights, which is given c as a class."""
    twin = build(replace(model.config, clusters=0, conditional=True, classes=C), model.shape)
    assert isinstance(twin, RealNVP)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("clusters.")}
    twin.load_state_dict(own)
    return twin.double().eval()


# How they are found


def test_k_means_finds_heaps_that_lie_apart():
    centres = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    x = (centres.repeat(50, 1) + 0.5 * torch.randn(150, 2, generator=generator("heaps"))).double()
    means = k_means(x, 3)
    torch.testing.assert_close(means, torch.stack([x[i::3].mean(0) for i in range(3)]))


def test_k_means_ends_where_each_mean_is_its_members():
    x = torch.randn(400, 3, generator=generator("one heap"), dtype=torch.float64)
    means = k_means(x, 5)
    start = x[:5]
    assert ((x - means[nearest(x, means)]) ** 2).sum() < ((x - start[nearest(x, start)]) ** 2).sum()
    assert torch.equal(nearest(x, means), torch.cdist(x, means).argmin(1))


def test_a_cluster_that_gets_no_image_stays():
    x = torch.tensor([[2.0], [1.0]])
    means = k_means(x, 3)  # the third starts as the first
    assert means[2] == 2 and torch.equal(nearest(x, means), torch.tensor([0, 1]))


def test_shares_start_at_those_of_the_images():
    part, x = Clusters(2, 4), torch.zeros(40, 1, 2, 2, dtype=torch.uint8)
    x[1::4] = 255
    part.initialize(x)
    assert torch.softmax(part.logits, 0).tolist() == pytest.approx([31 / 42, 11 / 42])


def test_noise_within_a_level_does_not_change_the_cluster():
    part = Clusters(2, 4)
    part.means[1] = 1.4 / 255  # black images are nearer to the first, and black ones with much noise would not be
    x = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    for u in (0.0, 0.5, 0.999):
        assert part.of(x + u).item() == part.of(x).item() == 0
        assert part.of(x + 1 + u).item() == 1


# In a latent


def test_a_normal_draw_chooses_a_cluster_by_its_share():
    model, n = flow(), 20_000
    assert model.clusters is not None
    e = torch.randn(n, C, generator=generator("e"), dtype=torch.float64)
    counts = torch.bincount(model.clusters.chosen(e), minlength=C)
    assert ((counts - n * PI) ** 2 / (n * PI)).sum() < 16.3  # chi-squared of 3, 1 in 1,000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mark_of_a_rare_cluster_is_read(dtype):
    part = Clusters(3, 4).to(dtype)
    with torch.no_grad():
        part.logits.copy_(torch.tensor([0.0, -8.0, -13.0]))
    c = torch.arange(3)
    assert torch.equal(part.chosen(part.code(c)), c)


def test_images_come_back_from_their_latents():
    model, x = flow(), pixels(40, 1, 4, 4)
    z = model.encode(x)
    assert z.shape == (40, 16 + C)
    assert torch.equal(255 * model.decode(z), x.double())
    relative, log_det = round_trip(model, x.double() + 0.5)
    assert relative < 1e-10 and log_det < 1e-10


@pytest.mark.parametrize("path", [linear, spherical])
def test_a_path_between_two_images_changes_its_cluster_once(path):
    model, x = flow(), pixels(40, 1, 4, 4)
    assert model.clusters is not None
    z, c = model.encode(x), model.clusters.of(x)
    a, b = 0, int((c != c[0]).nonzero()[0])
    found = model.clusters.chosen(path(z[a], z[b], 9)[:, 16:]).tolist()
    assert found == sorted(found, key=lambda k: k != found[0]) and (found[0], found[-1]) == (c[a], c[b])


def test_temperature_is_of_the_flow_s_gaussian_alone():
    model = flow()
    noise = [torch.ones(3, 16), torch.full((3, C), 2.0)]
    assert model.latent(noise, Tempered(temperature=0.5)).unique().tolist() == [0.5, 2.0]
    cold = sampling.sample(model.float(), 300, options=Tempered(temperature=0.0)).flatten(1)
    assert len(cold.unique(dim=0)) == C, "one image for each cluster"


# The bound


def test_the_bound_is_the_share_times_the_density_given_the_cluster():
    model, x = flow(), pixels(30, 1, 4, 4)
    assert model.clusters is not None
    c = model.clusters.of(x)
    given = given_class(model).log_weights(x, 2, generator("u"), "dequantization", c)
    own = model.log_weights(x, 2, generator("u"), "dequantization")
    torch.testing.assert_close(own, given + PI.double().log()[c])
    assert given.std() > 1


@torch.no_grad()
def test_the_mass_of_all_images_is_one_and_the_bound_counts_less_of_it():
    """Of two pixels: sum over x of sum_c pi_c p(x|c) is 1, and the bound has x's own cluster alone."""
    model = flow((1, 1, 2))
    twin, levels = given_class(model), torch.arange(256, dtype=torch.uint8)
    every = torch.cartesian_prod(levels, levels).reshape(-1, 1, 1, 2)

    def mass(of: RealNVP, y: Tensor | None, share: float) -> tuple[float, float]:
        p = share * of.log_weights(every, 8, generator("mass"), "dequantization", y).exp()  # [8, 65536]
        return p.mean(0).sum().item(), (p.var(0) / 8).sum().sqrt().item()

    parts = [mass(twin, torch.full((len(every),), c), PI[c].item()) for c in range(C)]
    total, error = sum(m for m, _ in parts), sum(e for _, e in parts)
    counted, own_error = mass(model, None, 1.0)
    assert error < 0.02 and total == pytest.approx(1, abs=5 * error)
    assert 0.1 < counted < total + 5 * own_error


# What a user chooses


@pytest.mark.parametrize(
    ("chosen", "clusters"),
    [
        ({}, CLUSTERS),
        ({"clusters": 0}, 0),
        ({"channels": 8, "coupling": "affine"}, CLUSTERS),
        ({"size": "small"}, 0),
        ({"size": "small", "clusters": 5}, 5),
        ({"size": "large"}, 0),
        ({"arch": "mlp"}, 0),
        ({"conditional": True}, 0),
    ],
    ids=str,
)
def test_a_new_training_of_the_usual_form_has_clusters(chosen, clusters):
    assert RealNVPConfig.of(**chosen).clusters == clusters


def test_a_file_from_before_there_were_clusters_has_none():
    stored = RealNVPConfig.of().to_dict()
    assert RealNVPConfig.from_dict(stored).clusters == CLUSTERS
    stored.pop("clusters")
    assert RealNVPConfig.from_dict(stored).clusters == 0


def test_clusters_and_classes_exclude_each_other():
    with pytest.raises(UsageError, match="leave --conditional out"):
        RealNVPConfig.of(conditional=True, clusters=5)


def test_clusters_are_found_among_more_images_than_the_rest_looks_at():
    assert flow().initial_images == 1024
    assert build(RealNVPConfig(**SMALL, clusters=50), (1, 4, 4)).initial_images == 5000


def test_a_training_initializes_with_as_many_images_as_the_model_says(monkeypatch):
    training = start(next(case for case in cases_of("realnvp") if case.config.clusters))
    seen, initialize = [], training.model.initialize
    monkeypatch.setattr(training.model, "initialize", lambda x: (seen.append(len(x)), initialize(x)))
    training.model.initial_images = 5
    run(training, 1)
    assert seen == [5]
