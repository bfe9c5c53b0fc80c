"""Pictures of cells, of their local fields, of clouds of tensors and of fits.

All return Matplotlib figures made by pyplot: a notebook shows each once, a script by `plt.show()`. None saves them or
changes a global setting.
"""

from ._cells import plot_field as plot_field
from ._clouds import plot_cloud as plot_cloud
from ._fits import plot_convergence as plot_convergence
from ._fits import plot_identifiability as plot_identifiability
from ._images import plot_image as plot_image
from ._local import plot_local_fields as plot_local_fields
from ._meshes import plot_mesh as plot_mesh
from ._stresses import plot_stresses as plot_stresses
