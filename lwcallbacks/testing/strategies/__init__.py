"""Hypothesis strategies for metrics: tensors of all kinds of floats, batches of what metrics take, shares of data sets.

    @given(tensors((5, 3)), multiclass_batches(num_classes=3), partitions(num_samples=10))
    def test(scores, batches, shares): ...

Everything shrinks towards few samples, zeros and one process.
"""

from lwcallbacks.testing.strategies.classes import binary_batches as binary_batches
from lwcallbacks.testing.strategies.classes import labelled_batches as labelled_batches
from lwcallbacks.testing.strategies.classes import multiclass_batches as multiclass_batches
from lwcallbacks.testing.strategies.classes import multilabel_batches as multilabel_batches
from lwcallbacks.testing.strategies.numbers import floats32 as floats32
from lwcallbacks.testing.strategies.numbers import grid as grid
from lwcallbacks.testing.strategies.numbers import noise as noise
from lwcallbacks.testing.strategies.numbers import tensors as tensors
from lwcallbacks.testing.strategies.pictures import box_batches as box_batches
from lwcallbacks.testing.strategies.pictures import image_batches as image_batches
from lwcallbacks.testing.strategies.pictures import mask_batches as mask_batches
from lwcallbacks.testing.strategies.quantities import distribution_batches as distribution_batches
from lwcallbacks.testing.strategies.quantities import regression_batches as regression_batches
from lwcallbacks.testing.strategies.quantities import value_batches as value_batches
from lwcallbacks.testing.strategies.sequences import audio_batches as audio_batches
from lwcallbacks.testing.strategies.sequences import retrieval_batches as retrieval_batches
from lwcallbacks.testing.strategies.sequences import text_batches as text_batches
from lwcallbacks.testing.strategies.splitting import batches_of as batches_of
from lwcallbacks.testing.strategies.splitting import partitions as partitions
from lwcallbacks.testing.strategies.suited import Suited as Suited
from lwcallbacks.testing.strategies.suited import strategy_for as strategy_for
