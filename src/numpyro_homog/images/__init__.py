"""Images of microstructures: files, segmentation, phase fractions."""

from ._image import Image as Image
from ._image import load_image as load_image
from ._image import save_image as save_image
from ._phases import coarsen as coarsen
from ._phases import phases_from_labels as phases_from_labels
from ._phases import segment as segment
