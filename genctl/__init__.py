"""genctl trains, samples and compares deep generative models of images.

    import genctl

    model = genctl.load("vae")
    images = model.sample(16, seed=0)

Torch is imported when one of these names is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import TrainedModel, TrainedRun, compare, datasets, evaluate, load, save_features, train

__version__ = "0.2.0"
__all__ = ["TrainedModel", "TrainedRun", "compare", "datasets", "evaluate", "load", "save_features", "train"]

# An OpenMP thread that waits for the others of its team spins. Where another program wants the core, the default of
# 300,000 turns keeps from it the very thread that is waited for. The library reads this when torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    """Return a name of the Python face (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'genctl' has no attribute {name!r}")
    from . import api

    return getattr(api, name)
