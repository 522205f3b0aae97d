"""Pictures: figures that a notebook shows, whatever its backend."""

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that stands alone, without pyplot's list of figures, through which notebooks show others."""

    def _repr_png_(self) -> bytes:
        """What IPython shows of an object on the last line of a cell."""
        drawn = io.BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()
