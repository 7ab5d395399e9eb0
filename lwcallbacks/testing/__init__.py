"""What users import in their own tests of metrics and reductions. Needs the extra: `pip install lwcallbacks[testing]`.

from lwcallbacks.testing import check_metric, labelled_batches

def test_accuracy_is_about_the_samples():
    check_metric(lambda: MulticlassAccuracy(num_classes=3), labelled_batches(num_classes=3))
"""

from lwcallbacks.testing import laws_of_data as _laws_of_data  # noqa: F401, adds its laws to METRIC_LAWS
from lwcallbacks.testing import laws_of_state as _laws_of_state  # noqa: F401, so does this
from lwcallbacks.testing.errors import HostSync as HostSync
from lwcallbacks.testing.errors import LawViolation as LawViolation
from lwcallbacks.testing.errors import WouldHang as WouldHang
from lwcallbacks.testing.host_sync import forbid_host_sync as forbid_host_sync
from lwcallbacks.testing.law import Finding as Finding
from lwcallbacks.testing.metric_laws import METRIC_LAWS as METRIC_LAWS
from lwcallbacks.testing.metric_laws import check_metric as check_metric
from lwcallbacks.testing.metric_laws import examine_metric as examine_metric
from lwcallbacks.testing.metric_laws import violations_of_metric as violations_of_metric
from lwcallbacks.testing.reduction_laws import REDUCTION_LAWS as REDUCTION_LAWS
from lwcallbacks.testing.reduction_laws import check_reduction as check_reduction
from lwcallbacks.testing.reduction_laws import examine_reduction as examine_reduction
from lwcallbacks.testing.sim_device import simulated_device as simulated_device
from lwcallbacks.testing.strategies import floats32 as floats32
from lwcallbacks.testing.strategies import labelled_batches as labelled_batches
from lwcallbacks.testing.strategies import partitions as partitions
from lwcallbacks.testing.strategies import tensors as tensors
from lwcallbacks.testing.world import World as World
