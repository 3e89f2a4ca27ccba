"""Diffusion against independent truths: a Gaussian's field, a two-point density, quadrature, orders of convergence."""

from __future__ import annotations

from collections.abc import Callable
from math import atan, exp, log, pi, sqrt, tan

import pytest
import torch
from torch import Tensor

from genctl.config import ModelConfig
from genctl.errors import UsageError
from genctl.evaluation.bounds import bound
from genctl.generation import sampling
from genctl.models.base import build
from genctl.models.diffusion import diagnosis, samplers
from genctl.models.diffusion.config import DiffusionConfig, DiffusionSampling
from genctl.models.diffusion.likelihood import EXACT, Density, random
from genctl.models.diffusion.model import Diffusion
from genctl.models.diffusion.preconditioning import Preconditioning
from genctl.models.diffusion.processes import PROCESSES
from genctl.models.diffusion.samplers import SAMPLERS, Level
from genctl.models.diffusion.times import CLEANEST, NOISIEST, Logistic, Normal, Uniform
from genctl.seeds import generator
from genctl.testing.cases import Case, perturb, pixels, run, start
from genctl.types import Shape

MLP = {"arch": "mlp", "hidden": 16, "depth": 1}
ONE: Shape = (1, 1, 1)
EVERY = pytest.mark.parametrize("process", PROCESSES)


def tiny(shape: Shape = (1, 8, 8), moved: bool = True, **options: object) -> Diffusion:
    """Return a small model in evaluation mode, its weights away from their start."""
    torch.manual_seed(0)
    config: ModelConfig = DiffusionConfig(**{**MLP, **options})
    if config.conditional:
        config = DiffusionConfig(**{**MLP, **options}, classes=4)  # type: ignore[arg-type]
    model = build(config, shape)
    assert isinstance(model, Diffusion)
    if moved:
        perturb(model)
    return model.eval()


def levels_of(process: str, lam: Tensor) -> list[Level]:
    """Return noise levels."""
    return [Level(*each) for each in zip(lam, *PROCESSES[process].scales(lam), strict=True)]


@EVERY
def test_signal_over_noise_is_what_lam_says(process: str) -> None:
    lam = torch.linspace(NOISIEST, CLEANEST, 33, dtype=torch.float64)
    a, b = PROCESSES[process].scales(lam)
    torch.testing.assert_close((a / b).log(), lam)
    kept = {"linear": a + b, "cosine": a**2 + b**2, "edm": a}[process]
    torch.testing.assert_close(kept, torch.ones_like(lam))


OWN = [process.times for process in PROCESSES.values()]


@pytest.mark.parametrize("times", [Uniform(), Normal(1.2, 1.2), Logistic(0.5, 0.7), *OWN])
def test_times_are_drawn_of_their_density(times: Uniform) -> None:
    lam, density = times.draw(100_000, torch.tensor([0.3]))
    assert lam.min() >= NOISIEST and lam.max() <= CLEANEST
    for low, high in ((-2.0, 0.0), (0.0, 1.5), (1.5, 4.0)):
        inside = (lam > low) & (lam < high)
        assert (inside / density).mean().item() == pytest.approx(high - low, rel=0.01)  # E[1/p] over an interval


def test_a_batch_has_all_noise_levels_and_an_image_any() -> None:
    drawn = torch.stack([Uniform().draw(8, u[None])[0] for u in torch.linspace(0, 0.99, 50)])
    apart = drawn.sort(1).values.diff(dim=1)
    torch.testing.assert_close(apart, torch.full_like(apart, (CLEANEST - NOISIEST) / 8))
    assert drawn[:, 0].min() < NOISIEST + 1 and drawn[:, 0].max() > CLEANEST - 1


@EVERY
def test_the_network_is_asked_for_what_has_variance_one(process: str) -> None:
    known = Preconditioning(process, (1, 1, 2))
    y = torch.randn(100_000, 1, 1, 2, generator=generator("y")) * torch.tensor([0.3, 0.3]) - 0.2
    known.initialize(y)
    a, b = (each.reshape(1, 1, 1, 1) for each in PROCESSES[process].scales(torch.tensor(0.7)))
    e = torch.randn(y.shape, generator=generator("e"))
    shift, skip, out = known.coefficients(a, b)
    wanted = (y - shift - skip * (a * y + b * e)) / out
    if process == "cosine":
        torch.testing.assert_close(wanted, a * e - b * y)  # v
    else:
        assert wanted.var().item() == pytest.approx(1, rel=0.05 if process == "linear" else 0.5)
        slope = (wanted * (a * y + b * e)).mean() - wanted.mean() * (a * y + b * e).mean()
        assert abs(slope.item()) < (0.01 if process == "linear" else 0.2)  # nothing linear is left to learn


def two_points(z: Tensor, level: Level) -> Tensor:
    """Return E[y|z] for y = -1 or 1, each half of the time."""
    return torch.tanh(level.a * z / level.b.square())


@EVERY
@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpm", 2)])
def test_a_sampler_converges_with_its_order(process: str, sampler: str, order: int) -> None:
    z = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)

    def end(steps: int, name: str = sampler) -> Tensor:
        lam = torch.linspace(-2, 1.5, steps + 1, dtype=torch.float64)
        return SAMPLERS[name](two_points, z * PROCESSES[process].scales(lam[:1])[1], levels_of(process, lam))

    true = end(600, "heun")
    coarse, fine = ((end(n) - true).abs().max().item() for n in (64, 128))
    assert log(coarse / fine, 2) == pytest.approx(order, abs=0.45)


@EVERY
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_there_and_back_is_the_same_place(process: str, sampler: str) -> None:
    lam = torch.linspace(-3, 2, 501, dtype=torch.float64)
    levels = levels_of(process, lam)
    z = torch.linspace(-1, 1, 5, dtype=torch.float64) * levels[0].b
    there = SAMPLERS[sampler](two_points, z, levels)
    back = SAMPLERS[sampler](two_points, there, levels[::-1])
    torch.testing.assert_close(back, z, atol=5e-2, rtol=5e-2)


@EVERY
def test_an_encoded_image_decodes_to_itself(process: str) -> None:
    model, x = tiny(process=process), pixels(4)
    options = DiffusionSampling(sampler="heun", sampler_steps=100)
    z = sampling.encode(model, x, options=options)
    assert z.shape == (4, 64)
    back = sampling.decode(model, z, options=options)
    assert (back * 255 - x).abs().mean() < 3
    rough = sampling.decode(model, z, options=DiffusionSampling(sampler="euler", sampler_steps=2))
    assert (rough * 255 - x).abs().mean() > 2 * (back * 255 - x).abs().mean()


def gaussian(m: float, s: float) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """Return the best guess, linear in z, of images N(m, s^2) under the linear process."""

    def denoise(z: Tensor, lam: Tensor, y: Tensor | None) -> Tensor:
        noise = torch.exp(-lam).reshape(-1, 1, 1, 1)
        w = z / PROCESSES["linear"].scales(lam.reshape(-1, 1, 1, 1))[0]
        return m + s**2 / (s**2 + noise**2) * (w - m)

    return denoise


def true_density(image: Tensor, m: float, s: float, known: float) -> Tensor:
    """Return log p of the field's flow: (w - m) / S stays, of w that starts as N(0, known^2 + noise^2)."""
    first, last = (sqrt(s**2 + exp(-2 * lam)) for lam in (NOISIEST, CLEANEST))
    start = torch.distributions.Normal(0.0, sqrt(known**2 + exp(-2 * NOISIEST)))
    log_p = start.log_prob(m + first / last * (image - m)) + log(first / last)
    return log_p.flatten(1).sum(1) - image[0].numel() * log(128)


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 9, 9)])
def test_a_linear_field_has_the_density_of_a_gaussian(shape: Shape) -> None:
    known = Preconditioning("linear", shape).double()  # of mean 0 and deviation 0.5
    density = Density(PROCESSES["linear"], known, gaussian(0.3, 0.2))
    image = 0.3 + 0.2 * torch.randn(3, *shape, generator=generator("image"), dtype=torch.float64)
    true = true_density(image, 0.3, 0.2, 0.5)
    probe = density.probe(3, generator("probe"))
    assert (probe is None) is (image[0].numel() <= EXACT)
    # The field is diagonal, so that e^T J e is exact for any signs.
    found = density.log_density(image, None, 64, probe)
    torch.testing.assert_close(found, true, rtol=0, atol=1e-3)
    assert (density.log_density(image, None, 4, probe) - true).abs().max() > 0.05


def test_hutchinsons_estimate_is_right_on_average() -> None:
    model, x = tiny(), pixels(2)
    density = Density(model.process, model.known, model.denoise)
    image = model.dequantized(x, generator("u"))
    exact = density.log_density(image, None, 4, None)
    many = image.repeat(500, 1, 1, 1)
    found = density.log_density(many, None, 4, random("signs", (1000, 64), generator("signs"), image)).reshape(500, 2)
    error = found.std(0) / sqrt(500)
    assert (error > 0).all()
    assert ((found.mean(0) - exact).abs() < 4 * error + 1e-3).all()


def test_each_image_has_the_density_of_its_own_class() -> None:
    model, image, y = tiny((1, 2, 2), conditional=True), torch.rand(3, 1, 2, 2), torch.tensor([2, 0, 3])
    density = Density(model.process, model.known, model.denoise)
    together = density.log_density(image, y, 4, None)
    alone = [density.log_density(image[i : i + 1], y[i : i + 1], 4, None) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert (together - density.log_density(image, y.flip(0), 4, None))[0].abs() > 1e-2


@EVERY
def test_a_density_of_two_pixels_sums_to_one(process: str) -> None:
    model, side, end = tiny((1, 1, 2), process=process), 32, 4
    with torch.no_grad():
        model.network.inward.weight[:, 2:] = 0  # without the phase, whose waves within a level a grid would miss
    y = torch.linspace(-end, end, side + 1)[:-1] + end / side
    image = torch.cartesian_prod(y, y).reshape(-1, 1, 1, 2)
    density = Density(model.process, model.known, model.denoise)
    log_p = density.log_density(image, None, 24, None) + 2 * log(128)  # of [-1, 1] again
    assert (log_p.double().exp().sum() * (2 * end / side) ** 2).item() == pytest.approx(1, abs=0.01)
    assert log_p.std() > 0.1


def test_the_bound_of_a_perfect_guess_is_the_likelihood() -> None:
    model = tiny(ONE, moved=False)  # F = 0: the best guess for a Gaussian of the model's mean and deviation
    image = 0.5 * torch.randn(160_000, *ONE, generator=generator("image"))
    lam, density = Uniform().draw(len(image), torch.tensor([0.5]))
    error = model.error(image, lam, torch.randn(image.shape, generator=generator("e")), None)
    with torch.no_grad():
        found = model.bound(image, error, lam, density).mean().item()
    true = -torch.distributions.Normal(0, 0.5).log_prob(image).flatten(1).sum(1).mean().item() + log(128)
    assert found == pytest.approx(true, abs=0.15)


def test_the_elbo_is_above_the_density_of_the_ode() -> None:
    model, x = tiny((1, 2, 2)), pixels(20, (1, 2, 2))
    ode, elbo = DiffusionConfig.estimators
    how = DiffusionSampling(ode_steps=24)
    values = bound(model, x, 1, ode, options=how).tight
    above = bound(model, x, 200, elbo).mean
    assert values.mean() < above.mean() + 0.05
    assert bound(model, x, 1, ode, options=DiffusionSampling(ode_steps=48)).tight.mean() == pytest.approx(
        values.mean().item(), abs=0.005 * 4 * log(2)
    )


def test_numerics_name_the_solver_and_what_it_changes() -> None:
    exact = tiny((1, 2, 2)).numerics(pixels(30, (1, 2, 2)), "ode", options=DiffusionSampling(ode_steps=16))
    assert exact["divergence"] == "exact" and "16 steps" in exact["solver"] and exact["checked_images"] == 20
    rough = tiny((1, 2, 2)).numerics(pixels(30, (1, 2, 2)), "ode", options=DiffusionSampling(ode_steps=2))
    assert abs(rough["half_step_nats"]) > 10 * abs(exact["half_step_nats"])
    estimated = tiny((1, 9, 9)).numerics(pixels(3, (1, 9, 9)), "ode", options=DiffusionSampling(ode_steps=4))
    assert "Rademacher" in estimated["divergence"] and estimated["probe_nats"] > 0
    assert tiny().numerics(pixels(3), "elbo") == {}


def test_guidance_goes_beyond_the_class() -> None:
    model = tiny(conditional=True, process="cosine")
    z, lam, y = torch.randn(4, 1, 8, 8), torch.linspace(-2, 2, 4), torch.arange(4)
    plain, given, guided = (model.denoise(z, lam, *how) for how in ((None,), (y,), (y, 3.0)))
    torch.testing.assert_close(guided, plain + 3 * (given - plain))
    assert (given - plain).abs().max() > 1e-3
    weights = torch.nn.functional.one_hot(y, 4).float()
    torch.testing.assert_close(model.denoise(z, lam, weights), given)  # a path's mixture at its end
    noise = torch.randn(2, 64)
    with pytest.raises(UsageError, match="--guidance is for a model of --conditional"):
        tiny().decode(noise, None, DiffusionSampling(guidance=2.0))


def test_the_class_is_left_out_now_and_then() -> None:
    model = tiny(conditional=True, class_dropout=0.25)
    torch.manual_seed(0)
    told = model.told(torch.zeros(4000, dtype=torch.int64))
    assert told is not None and set(told.tolist()) == {0, 4}
    assert (told == 4).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_weightings_look_at_different_noise() -> None:
    lams = {
        weighting: tiny(weighting=weighting).times.draw(1000, torch.tensor([0.5]))[0]
        for weighting in ("pictures", "likelihood")
    }
    seen = {name: (lam.abs() < 4).float().mean().item() for name, lam in lams.items()}
    assert seen["likelihood"] == pytest.approx(0.5, abs=0.01) and seen["pictures"] > 0.9


@pytest.mark.parametrize(
    ("process", "first", "last"), [("linear", -5.0, 5.0), ("cosine", -5.0, 5.0), ("edm", -log(80), -log(0.002))]
)
def test_a_grid_goes_from_noise_to_image(process: str, first: float, last: float) -> None:
    grid = PROCESSES[process].grid(9)
    assert len(grid) == 9 and grid == sorted(grid)
    assert (grid[0], grid[-1]) == (pytest.approx(first), pytest.approx(last))
    if process == "cosine":
        angles = [2 / pi * atan(torch.tensor(lam).exp().item()) for lam in grid]
        assert angles[4] == pytest.approx((angles[0] + angles[-1]) / 2) and grid[4] == pytest.approx(log(tan(pi / 4)))
    assert PROCESSES[process].grid(1) == [pytest.approx(first)]


@EVERY
def test_a_short_training_makes_images_like_the_real_ones(process: str) -> None:
    case = Case("diffusion", (("arch", "mlp"), ("hidden", 64), ("depth", 1), ("process", process)))
    x = pixels(64)
    training = run(start(case, batch_size=32, lr=5e-3, schedule="constant", ema=0.95), 200, x)
    drawn = sampling.sample(training.best.eval(), 64)  # type: ignore[arg-type]
    apart = torch.cdist(drawn.flatten(1), x.flatten(1) / 255)
    to_each = torch.stack([apart[:, place::4].min(1).values for place in range(4)], 1)  # of the bar's four places
    nearest, second = to_each.sort(1).values[:, :2].unbind(1)
    assert second.mean() > 1.4 * nearest.mean()  # of noise it is 1.0
    assert to_each.argmin(1).bincount(minlength=4).min() >= 4


def test_a_diagnosis_names_the_noise_at_which_nothing_is_learned() -> None:
    model, x = tiny(moved=False), pixels(16)
    image = model.dequantized(x, generator("u"))
    model.known.initialize(image)
    e = random("normal", image.shape, generator("e"), image)
    lost = diagnosis.errors(model.process, model.known, lambda z, lam: model.denoise(z, lam), image, e)
    assert all(value == pytest.approx(1, abs=1e-4) for value in lost.values())  # F = 0 is the best linear guess
    assert [sentence.split(" noise")[0] for sentence in diagnosis.alarms(lost)] == ["at noisy", "at middle"]
    perfect = diagnosis.errors(model.process, model.known, lambda z, lam: image, image, e)
    assert not diagnosis.alarms(perfect) and all(value == 0 for value in perfect.values())


def test_dpm_starts_with_an_euler_step_of_the_exponential_kind() -> None:
    levels = levels_of("linear", torch.tensor([-1.0, 0.0], dtype=torch.float64))
    z = torch.linspace(-1, 1, 5, dtype=torch.float64)
    one = samplers.dpm(two_points, z, levels)
    torch.testing.assert_close(one, samplers.euler(two_points, z, levels))  # both are exact for a constant yhat


def test_a_guide_leads_away_from_its_own_guess() -> None:
    model = tiny(guide=4)
    z, lam = torch.randn(4, 1, 8, 8), torch.linspace(-2, 2, 4)
    assert model.guide is not None
    own, worse = (model.guess(network, z, lam, None) for network in (model.network, model.guide))
    assert (own - worse).abs().max() > 1e-3
    torch.testing.assert_close(model.denoise(z, lam, None, 3.0), worse + 3 * (own - worse))
    noise = torch.randn(2, 64)
    usual, none, more = (model.decode(noise, None, DiffusionSampling(guidance=w)) for w in (None, 1.0, 1.5))
    assert torch.equal(usual, more)
    assert (usual - none).abs().max() > 1e-3
    assert [player.name for player in model.players()] == ["diffusion", "guide"]
