"""What users import in their own tests of metrics and reductions. Needs the extra: `pip install lwcallbacks[testing]`.

from lwcallbacks.testing import check_metric, labelled_batches

def test_accuracy_is_about_the_samples():
    check_metric(lambda: MulticlassAccuracy(num_classes=3), labelled_batches(num_classes=3))
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
except ModuleNotFoundError as error:
    told = 'lwcallbacks.testing needs hypothesis, which is not installed: pip install "lwcallbacks[testing]"'
    raise ModuleNotFoundError(told, name="hypothesis") from error

from lwcallbacks.testing.checking import METRIC_LAWS as METRIC_LAWS
from lwcallbacks.testing.checking import check_metric as check_metric
from lwcallbacks.testing.checking import examine_metric as examine_metric
from lwcallbacks.testing.checking import violations_of_metric as violations_of_metric
from lwcallbacks.testing.errors import HostSync as HostSync
from lwcallbacks.testing.errors import LawViolation as LawViolation
from lwcallbacks.testing.errors import NotExaminable as NotExaminable
from lwcallbacks.testing.errors import WouldAbort as WouldAbort
from lwcallbacks.testing.errors import WouldHang as WouldHang
from lwcallbacks.testing.host_sync import forbid_host_sync as forbid_host_sync
from lwcallbacks.testing.law import Finding as Finding
from lwcallbacks.testing.machine import metric_machine as metric_machine
from lwcallbacks.testing.reduction_laws import REDUCTION_LAWS as REDUCTION_LAWS
from lwcallbacks.testing.reduction_laws import check_reduction as check_reduction
from lwcallbacks.testing.reduction_laws import examine_reduction as examine_reduction
from lwcallbacks.testing.sim_device import simulated_device as simulated_device
from lwcallbacks.testing.strategies import Suited as Suited
from lwcallbacks.testing.strategies import audio_batches as audio_batches
from lwcallbacks.testing.strategies import batches_of as batches_of
from lwcallbacks.testing.strategies import binary_batches as binary_batches
from lwcallbacks.testing.strategies import box_batches as box_batches
from lwcallbacks.testing.strategies import distribution_batches as distribution_batches
from lwcallbacks.testing.strategies import floats32 as floats32
from lwcallbacks.testing.strategies import grid as grid
from lwcallbacks.testing.strategies import image_batches as image_batches
from lwcallbacks.testing.strategies import labelled_batches as labelled_batches
from lwcallbacks.testing.strategies import mask_batches as mask_batches
from lwcallbacks.testing.strategies import multiclass_batches as multiclass_batches
from lwcallbacks.testing.strategies import multilabel_batches as multilabel_batches
from lwcallbacks.testing.strategies import noise as noise
from lwcallbacks.testing.strategies import partitions as partitions
from lwcallbacks.testing.strategies import regression_batches as regression_batches
from lwcallbacks.testing.strategies import retrieval_batches as retrieval_batches
from lwcallbacks.testing.strategies import strategy_for as strategy_for
from lwcallbacks.testing.strategies import tensors as tensors
from lwcallbacks.testing.strategies import text_batches as text_batches
from lwcallbacks.testing.strategies import value_batches as value_batches
from lwcallbacks.testing.world import World as World
