"""What may be chosen: a model's options and those of its training, readable without torch."""

from .models import GIVEN, LEVELS, Estimator, ModelConfig, Pixels, SamplingOptions, Tempered
from .options import MOST, MOST_DEPTH, MOST_WIDTH, Checked, Opt, Resumable, flag, options_of
from .training import DATA, MANY, OPTIMIZATION, RUN, TrainConfig, resumable
from .values import as_text

__all__ = [
    "DATA",
    "GIVEN",
    "LEVELS",
    "MANY",
    "MOST",
    "MOST_DEPTH",
    "MOST_WIDTH",
    "OPTIMIZATION",
    "RUN",
    "Checked",
    "Estimator",
    "ModelConfig",
    "Opt",
    "Pixels",
    "Resumable",
    "SamplingOptions",
    "Tempered",
    "TrainConfig",
    "as_text",
    "flag",
    "options_of",
    "resumable",
]
