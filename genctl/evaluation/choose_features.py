"""Which features compare the images of a data set: its classifier, a network of random weights, or a user's file."""

from __future__ import annotations

from pathlib import Path

from .. import data
from ..terminal.reporter import SILENT, Reporter
from . import own_features, random_network, train_classifier
from .features import Features


def features_for(found: data.Dataset, given: str | Path | None = None, reporter: Reporter = SILENT) -> Features:
    """Return the features of a data set that is split as by default.

    given is a file, or "random"; without it the classifier of the data set's classes where its training images have
    labels, else the network of random weights.
    """
    if given is not None and str(given) != random_network.KIND:
        return own_features.load(Path(given), found)
    if given is None and found.train.labels is not None:
        return train_classifier.features_for(found, reporter)
    return random_network.features_of(found.train.shape)
