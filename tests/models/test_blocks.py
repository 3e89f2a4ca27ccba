"""What the networks of several families share: how often a convolutional form halves an image."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_config

from genctl.errors import UsageError
from genctl.generation import sampling
from genctl.models.base import Batch, Inverts, Samples, build
from genctl.models.blocks import halvings, widths
from genctl.testing.cases import perturb, pixels

FORMS = [
    ("vae", "conv"),
    ("vae", "ladder"),
    ("gan", "dcgan"),
    ("gan", "resnet"),
    ("realnvp", "conv"),
    ("realnvp", "multiscale"),
]
SHAPES = [(3, 32, 32), (1, 64, 64), (3, 48, 64), (1, 96, 96)]


@pytest.mark.parametrize(
    ("size", "n"),
    [((8, 8), 2), ((28, 28), 2), ((32, 32), 2), ((40, 40), 3), ((48, 64), 3), ((64, 64), 3), ((96, 96), 4)],
)
def test_an_image_is_halved_until_its_shorter_side_is_at_most_8(size: tuple[int, int], n: int) -> None:
    assert halvings("conv", (1, *size)) == n


@pytest.mark.parametrize(
    ("size", "step", "fits"), [((30, 28), 4, "32 x 28"), ((60, 62), 8, "64 x 64"), ((100, 100), 16, "112 x 112")]
)
def test_a_size_that_does_not_divide_is_told_the_next_that_does(size: tuple[int, int], step: int, fits: str) -> None:
    with pytest.raises(UsageError, match=f"divisible by {step}, not .*; use --arch mlp, or images of {fits}[.]"):
        halvings("conv", (3, *size))
    H, W = (int(side) for side in fits.split(" x "))
    assert (1 << halvings("conv", (3, H, W))) == step


def test_channels_double_twice() -> None:
    assert widths(32, 2) == [32, 64] and widths(32, 4) == [32, 64, 128, 128]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "arch"), FORMS)
def test_every_convolutional_form_takes_every_size_and_colour(
    name: str, arch: str, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    model = build(tiny_config(name, arch), shape)
    x = pixels(4, shape)
    for loss in model.train().losses(Batch(x, None, torch.tensor(0), torch.tensor(0.0))):
        assert loss.minimise.isfinite()
        loss.minimise.backward()
    assert isinstance(model, Samples)
    assert sampling.sample(model.eval(), 2).shape == (2, *shape)


@pytest.mark.parametrize("shape", SHAPES[1:3])
@pytest.mark.parametrize("arch", ["conv", "multiscale"])
def test_a_flow_of_three_halvings_inverts(arch: str, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = build(tiny_config("realnvp", arch), shape).double().eval()
    perturb(model)
    assert isinstance(model, Inverts)
    with torch.no_grad():
        x = pixels(4, shape).double() + 0.5
        z, log_det = model(x)
        back, log_det_back = model.inverse(z)
    torch.testing.assert_close(back, x, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(log_det_back, -log_det, atol=1e-6, rtol=1e-6)
