"""The leaves of runs that go side by side, as rows of one array for each dtype, and sums over a part of each leaf."""

from typing import Any

import numpy as np


def entries(axes: int) -> int:
    """How many entries of each axis of a leaf are looked at: eight of one or two axes, and of more fewer."""
    return max(2, min(8, round(64 ** (1 / max(axes, 1)))))


class Rows:
    """A row for each run, with all leaves one after the other, in a part for each dtype: [runs, numbers].

    Leaves are views of the parts, so that NumPy works on few arrays.
    """

    def __init__(self, leaves: list[np.ndarray], runs: int) -> None:
        self.runs = runs
        dtypes = list(dict.fromkeys(leaf.dtype for leaf in leaves))
        self.shapes, self.parts = [leaf.shape for leaf in leaves], [dtypes.index(leaf.dtype) for leaf in leaves]
        self.order = sorted(range(len(leaves)), key=self.parts.__getitem__)  # of the leaves in the parts
        self.slices: list[slice] = [slice(0)] * len(leaves)
        columns: list[list[np.ndarray]] = [[np.zeros(0, int)] for _ in dtypes]
        ends, sizes = [0] * len(dtypes), []
        for index in self.order:
            leaf, part = leaves[index], self.parts[index]
            self.slices[index] = slice(ends[part], ends[part] + leaf.size)
            first = np.arange(leaf.size).reshape(leaf.shape)[(slice(entries(leaf.ndim)),) * leaf.ndim]
            columns[part].append(ends[part] + first.ravel())
            sizes.append(first.size * (2 if np.iscomplexobj(leaf) else 1))
            ends[part] += leaf.size
        self.columns = list(map(np.concatenate, columns))
        self.empty = np.array(sizes) == 0
        self.begins = np.minimum(np.concatenate([[0], np.cumsum(sizes)[:-1]]), max(sum(sizes) - 1, 0)).astype(int)

    def filled(self, of_runs: list[list[np.ndarray]], like: list[np.ndarray]) -> list[np.ndarray]:
        """The parts, from the leaves of each run in the dtypes of others."""
        by_leaf = zip(*of_runs, strict=True)
        return self.gathered([np.stack(leaves).astype(leaf.dtype) for leaves, leaf in zip(by_leaf, like, strict=True)])

    def gathered(self, leaves: list[Any]) -> list[np.ndarray]:
        """The parts, from leaves with the axis of runs in front."""
        rows = [np.asarray(leaf).reshape(self.runs, -1) for leaf in leaves]
        by_part = [
            [rows[index] for index in self.order if self.parts[index] == part] for part in range(len(self.columns))
        ]
        return [np.concatenate(of_part, 1) for of_part in by_part]

    def leaves(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """The leaves, with the axis of runs in front, as views."""
        where = zip(self.parts, self.slices, self.shapes, strict=True)
        return [parts[part][:, columns].reshape(self.runs, *shape) for part, columns, shape in where]

    def corner(self, parts: list[Any]) -> np.ndarray:
        """The first entries of every axis of each leaf, two numbers for a complex one; f64[runs, numbers]."""
        corners = [part[:, columns] for part, columns in zip(parts, self.columns, strict=True)]
        split = [np.stack([c.real, c.imag], 2).reshape(self.runs, -1) if np.iscomplexobj(c) else c for c in corners]
        return np.concatenate([c.astype(np.float64) for c in split], 1)

    def summed(self, products: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The sum of each product over the corner of each leaf; f64[steps, leaves]."""
        sums = np.add.reduceat(np.stack(np.broadcast_arrays(*products.values())), self.begins, axis=-1)
        sums[..., self.empty] = 0
        in_order = np.zeros_like(sums)
        in_order[..., self.order] = sums
        return dict(zip(products, in_order, strict=True))
