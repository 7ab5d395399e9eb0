"""What counts of positives and negatives by score say, on the CPU in NumPy: areas with a certain bound of their error,
points of curves, the best threshold, and calibration."""

from lwcallbacks.curves.areas import Bounded as Bounded
from lwcallbacks.curves.areas import auroc as auroc
from lwcallbacks.curves.areas import average_precision as average_precision
from lwcallbacks.curves.areas import mean_of as mean_of
from lwcallbacks.curves.calibration import Calibration as Calibration
from lwcallbacks.curves.calibration import calibration as calibration
from lwcallbacks.curves.charts import charts as charts
from lwcallbacks.curves.points import Points as Points
from lwcallbacks.curves.points import precision_recall as precision_recall
from lwcallbacks.curves.points import roc as roc
from lwcallbacks.curves.points import simplified as simplified
from lwcallbacks.curves.points import steps as steps
from lwcallbacks.curves.readings import counted as counted
from lwcallbacks.curves.readings import round_thresholds as round_thresholds
from lwcallbacks.curves.summary import AREAS as AREAS
from lwcallbacks.curves.summary import Summaries as Summaries
from lwcallbacks.curves.summary import Summary as Summary
from lwcallbacks.curves.summary import results_of as results_of
from lwcallbacks.curves.summary import summarised as summarised
from lwcallbacks.curves.thresholds import Threshold as Threshold
from lwcallbacks.curves.thresholds import ThresholdBy as ThresholdBy
from lwcallbacks.curves.thresholds import best_threshold as best_threshold
from lwcallbacks.curves.thresholds import check_threshold_by as check_threshold_by
