"""What may be chosen: a model's options and those of its training, readable without torch."""

from .models import GIVEN, LEVELS, Estimator, ModelConfig, Pixels, SamplingOptions, Tempered
from .options import MOST, MOST_DEPTH, MOST_WIDTH, Checked, Opt, Resumable, flag, options_of
from .training import DATA, DATA_SETS, MANY, OPTIMIZATION, RUN, TrainConfig, augmentation_in, resumable
from .values import as_text

__all__ = [
    "DATA",
    "DATA_SETS",
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
    "augmentation_in",
    "flag",
    "options_of",
    "resumable",
]
