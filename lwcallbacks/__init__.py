"""Callbacks for a PyTorch Lightning Trainer that show what a model does, the same for any batch size and processes."""

from lwcallbacks import presets as presets
from lwcallbacks.callbacks.checkpoint_artifact import CheckpointArtifact as CheckpointArtifact
from lwcallbacks.callbacks.confusion_matrix import ConfusionMatrix as ConfusionMatrix
from lwcallbacks.callbacks.gradient_histogram import GradientHistogram as GradientHistogram
from lwcallbacks.callbacks.image_mosaic import ImageMosaic as ImageMosaic
from lwcallbacks.callbacks.mask_grid import MaskGrid as MaskGrid
from lwcallbacks.callbacks.multilabel_confusion_matrix import MultilabelConfusionMatrix as MultilabelConfusionMatrix
from lwcallbacks.callbacks.prediction_grid import PredictionGrid as PredictionGrid
from lwcallbacks.callbacks.scalar_metrics import ScalarMetrics as ScalarMetrics
from lwcallbacks.parallel import DataParallelStrategy as DataParallelStrategy
from lwcallbacks.state.core import StateCore as StateCore
from lwcallbacks.state.metric import ReductionMetric as ReductionMetric
