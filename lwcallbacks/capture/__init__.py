"""What one step saw: its inputs, predictions, targets, loss and further fields, found where users leave them.

    calls = ForwardCalls()
    calls.start(module, direct=True); outputs = module.training_step(batch, 0); calls.stop()
    seen = Step(outputs, batch, {None: calls.calls})
    seen.find("preds", Source())                  # [N, ...], detached, a plain tensor

Looks at structure, shapes and dtypes only, never at values, so a device is not waited for.
"""

from lwcallbacks.capture.errors import CaptureError as CaptureError
from lwcallbacks.capture.forms import FORMATS as FORMATS
from lwcallbacks.capture.forms import BoxesForm as BoxesForm
from lwcallbacks.capture.forms import Form as Form
from lwcallbacks.capture.forms import ImagesForm as ImagesForm
from lwcallbacks.capture.forms import drawn_size as drawn_size
from lwcallbacks.capture.forward import Call as Call
from lwcallbacks.capture.forward import ForwardCalls as ForwardCalls
from lwcallbacks.capture.forward import listen_apart as listen_apart
from lwcallbacks.capture.items import Items as Items
from lwcallbacks.capture.items import ItemsForm as ItemsForm
from lwcallbacks.capture.names import KEYS as KEYS
from lwcallbacks.capture.source import Extract as Extract
from lwcallbacks.capture.source import Source as Source
from lwcallbacks.capture.source import imported as imported
from lwcallbacks.capture.step import Step as Step
