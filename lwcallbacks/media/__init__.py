"""What a person is shown, as plain values, and how they are made from tensors. No logger, no plotting at import."""

from lwcallbacks.media.charts import captioned_grid as captioned_grid
from lwcallbacks.media.charts import draw_histogram as draw_histogram
from lwcallbacks.media.charts import draw_labels as draw_labels
from lwcallbacks.media.charts import draw_matrix as draw_matrix
from lwcallbacks.media.charts import to_pil as to_pil
from lwcallbacks.media.charts import with_caption as with_caption
from lwcallbacks.media.masks import name_of as name_of
from lwcallbacks.media.masks import overlay as overlay
from lwcallbacks.media.masks import side_by_side as side_by_side
from lwcallbacks.media.render import as_rgb as as_rgb
from lwcallbacks.media.render import enlarge as enlarge
from lwcallbacks.media.render import framed as framed
from lwcallbacks.media.render import mosaic as mosaic
from lwcallbacks.media.render import stack as stack
from lwcallbacks.media.render import to_pixels as to_pixels
from lwcallbacks.media.report import confusion_report as confusion_report
from lwcallbacks.media.report import label_report as label_report
from lwcallbacks.media.values import Cell as Cell
from lwcallbacks.media.values import Entry as Entry
from lwcallbacks.media.values import File as File
from lwcallbacks.media.values import Histogram as Histogram
from lwcallbacks.media.values import Image as Image
from lwcallbacks.media.values import Matrix as Matrix
from lwcallbacks.media.values import Table as Table
