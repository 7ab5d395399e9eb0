"""Commutative monoids over tensors: the same bits for the same samples, however they are split. Imports torch only."""

from lwcallbacks.reductions.base import FieldError as FieldError
from lwcallbacks.reductions.base import Reduction as Reduction
from lwcallbacks.reductions.base import Scattered as Scattered
from lwcallbacks.reductions.base import State as State
from lwcallbacks.reductions.choice import Choice as Choice
from lwcallbacks.reductions.choice import Chosen as Chosen
from lwcallbacks.reductions.choice import First as First
from lwcallbacks.reductions.choice import RandomSample as RandomSample
from lwcallbacks.reductions.choice import TopK as TopK
from lwcallbacks.reductions.compose import PerClass as PerClass
from lwcallbacks.reductions.compose import Product as Product
from lwcallbacks.reductions.confusion import ConfusionCounts as ConfusionCounts
from lwcallbacks.reductions.hashing import content_ids as content_ids
from lwcallbacks.reductions.histogram import LogBins as LogBins
from lwcallbacks.reductions.histogram import LogHistogram as LogHistogram
from lwcallbacks.reductions.score_range import ScoreRange as ScoreRange
from lwcallbacks.reductions.scores import Derived as Derived
from lwcallbacks.reductions.scores import accuracy as accuracy
from lwcallbacks.reductions.scores import macro_f1 as macro_f1
from lwcallbacks.reductions.scores import mean_iou as mean_iou
from lwcallbacks.reductions.scores import micro_f1 as micro_f1
from lwcallbacks.reductions.scores import psnr as psnr
from lwcallbacks.reductions.sums import ExactMean as ExactMean
from lwcallbacks.reductions.sums import ExactSum as ExactSum
from lwcallbacks.reductions.sums import Extrema as Extrema
from lwcallbacks.reductions.sums import MinMax as MinMax
