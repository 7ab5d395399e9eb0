"""The public names, each from where it is made: what `lwcallbacks` gives when asked for one. Nothing else."""

from lwcallbacks import presets as presets
from lwcallbacks.callbacks.base import LoggingCallback as LoggingCallback
from lwcallbacks.callbacks.box_grid import BoxGrid as BoxGrid
from lwcallbacks.callbacks.checkpoint_artifact import CheckpointArtifact as CheckpointArtifact
from lwcallbacks.callbacks.confusion_matrix import ConfusionMatrix as ConfusionMatrix
from lwcallbacks.callbacks.gradient_histogram import GradientHistogram as GradientHistogram
from lwcallbacks.callbacks.image_mosaic import ImageMosaic as ImageMosaic
from lwcallbacks.callbacks.mask_grid import MaskGrid as MaskGrid
from lwcallbacks.callbacks.multilabel_confusion_matrix import MultilabelConfusionMatrix as MultilabelConfusionMatrix
from lwcallbacks.callbacks.need import Need as Need
from lwcallbacks.callbacks.prediction_grid import PredictionGrid as PredictionGrid
from lwcallbacks.callbacks.scalar_metrics import ScalarMetrics as ScalarMetrics
from lwcallbacks.callbacks.stateful import StateCallback as StateCallback
from lwcallbacks.capture import Source as Source
from lwcallbacks.media import File as File
from lwcallbacks.media import Histogram as Histogram
from lwcallbacks.media import Image as Image
from lwcallbacks.media import Matrix as Matrix
from lwcallbacks.media import Table as Table
from lwcallbacks.parallel import DataParallelStrategy as DataParallelStrategy
from lwcallbacks.state.core import StateCore as StateCore
from lwcallbacks.state.metric import ReductionMetric as ReductionMetric
from lwcallbacks.writers import Writer as Writer
from lwcallbacks.writers import register_writer as register_writer
