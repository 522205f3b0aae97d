"""Axes: from where to where, and which ticks; round numbers that do not touch, whatever was measured."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
else:
    Axes = Any

ROUND = (1, 2, 5, 10)  # the steps of ticks, times powers of ten
LETTER = 0.08  # inches that a letter takes, with some room
MARGIN = 0.08  # of an axis on both sides


def percent(share: float, _: Any = None) -> str:
    """A share as `82.5%`, for the ticks of an axis; nothing below 0 and above 1, where an axis may end."""
    return f"{100 * share:.6g}%" if -1e-9 < share < 1 + 1e-9 else ""


def number(value: float, _: Any = None) -> str:
    """A number for the ticks of an axis: `0.05`, and as a power of ten where zeros would have to be counted."""
    digits = f"{value:.4g}"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return digits if "e" not in digits else f"{value:.0f}"
    mantissa, exponent = f"{value:.3e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return (rf"${mantissa}\cdot10^{{{int(exponent)}}}$" if mantissa not in ("1", "-1") else
            f"${mantissa[:-1]}10^{{{int(exponent)}}}$")  # fmt: skip


def wrapped(text: str, inches: float) -> str:
    """A title or label in lines that are no longer than that."""
    return textwrap.fill(text, max(10, int(inches / LETTER)))


def in_percent(panel: Axes) -> None:
    """Let the vertical axis show shares, of which no interval is drawn below 0 or above 1."""
    from matplotlib.ticker import MaxNLocator

    panel.yaxis.set_major_formatter(percent)
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))


def shares_in_view(panels: Sequence[Axes]) -> None:
    """Let the vertical axis of panels that show shares end a little beyond 0 and 1."""
    for panel in panels:
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, -0.05), min(high, 1.05))


def shows_shares(panel: Axes) -> bool:
    """Whether the vertical axis is one of shares."""
    return getattr(panel.yaxis.get_major_formatter(), "func", None) is percent


def powers(low: float, high: float, most: int) -> np.ndarray:
    """At most so many round numbers in [low, high], both above 0, for a logarithmic axis: powers of ten, or finer ones
    where there are fewer than two of them.
    """
    from matplotlib.ticker import MaxNLocator

    first, last = np.log10(low), np.log10(high)
    exponents = np.arange(np.ceil(first - 1e-6), np.floor(last + 1e-6) + 1)
    if len(exponents) > 1:
        stride = -(-len(exponents) // most)
        return 10.0 ** exponents[exponents % stride == 0]
    finer = np.outer(10.0 ** np.arange(np.floor(first), np.ceil(last)), (1, 2, 5)).ravel()
    finer = finer[(finer > low * (1 - 1e-6)) & (finer < high * (1 + 1e-6))]
    if 2 <= len(finer) <= most:
        return finer
    ticks = np.asarray(MaxNLocator(most, steps=ROUND).tick_values(low, high))
    return ticks[(ticks >= low) & (ticks <= high)]


def losses_in_view(panels: Sequence[Axes], estimates: Iterable[np.ndarray]) -> None:
    """Let the vertical axis of panels show losses, of which these means and intervals f64[k, 3] are drawn.

    It is logarithmic where means span more than a decade. An interval that is longer than all means are apart leaves
    the panel: few seeds know little, and curves are to be seen beside it.
    """
    from matplotlib.ticker import MaxNLocator, NullLocator

    every = np.concatenate([np.empty((0, 3)), *estimates])
    every = every[np.isfinite(every[:, 0])]
    if not len(every):
        return
    means, ends = every[:, 0], every[:, 1:][np.isfinite(every[:, 1:])]
    lowest, highest = means.min(), means.max()
    low, high = min(lowest, ends.min(initial=lowest)), max(highest, ends.max(initial=highest))
    logarithmic = lowest > 0 and highest > 10 * lowest
    if logarithmic:
        low, high = max(low, lowest / 10), min(high, highest * 10)
        room = (high / low) ** MARGIN
        low, high = low / room, high * room
    else:
        span = (highest - lowest) or abs(highest) / 2 or 1.0
        low, high = max(low, lowest - span), min(high, highest + span)
        room = MARGIN * ((high - low) or span)
        low, high = low - room, high + room
    for panel in panels:
        panel.set_yscale("log" if logarithmic else "linear")
        panel.set_ylim(low, high)
        if logarithmic:
            panel.set_yticks(powers(low, high, 6))
            panel.yaxis.set_minor_locator(NullLocator())
        else:
            panel.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
        panel.yaxis.set_major_formatter(number)


def logarithmic(panel: Axes, values: np.ndarray) -> None:
    """Make the horizontal axis logarithmic and as long as these values, all above 0."""
    low, high = values.min(), values.max()
    room = max(1.5, (high / low) ** MARGIN)
    panel.set_xscale("log")
    panel.set_xlim(low / room, high * room)
    panel.minorticks_off()
    write_ticks(panel, powers(low / room, high * room, most_ticks(panel)))


def through_zero(panel: Axes, values: np.ndarray, zero: bool = True) -> None:
    """Make the horizontal axis logarithmic on both sides of 0 and as long as these values.

    Between 0 and the smallest value it is linear. Ticks are at the values, where these are few and apart, else at
    powers of ten; and at 0, if `zero`.
    """
    sizes = np.abs(values[values != 0])
    smallest, largest = (sizes.min(), sizes.max()) if len(sizes) else (1.0, 1.0)
    decades = np.log10(largest) - np.log10(smallest) or 1.0
    to_zero = max(0.12 * decades, min(0.3 * decades, 0.7))  # decades that the linear part is as long as
    room = 10 ** (1.5 * MARGIN * (decades + to_zero))  # for what stands beside the last value
    panel.set_xscale("symlog", linthresh=smallest, linscale=to_zero)
    panel.set_xlim(values.min() * room if values.min() < 0 else -smallest / 2,
                   values.max() * room if values.max() > 0 else smallest / 2)  # fmt: skip
    panel.minorticks_off()
    ticks = [0.0] if zero else []
    for side in (1, -1):
        there = np.unique(side * values[side * values > 0])
        if len(there):
            few = len(there) <= 5 and not crowded(panel, [*ticks, *(side * there)])
            round_ones = there if few or len(there) == 1 else powers(there[0], there[-1], most_ticks(panel))
            ticks += list(side * (round_ones if len(round_ones) else there[:1]))
    write_ticks(panel, ticks)


def figure_of(panel: Axes) -> Any:
    """The figure that a panel is part of."""
    return panel.get_figure(root=True)


def panel_width(panel: Axes) -> float:
    """About how many inches wide a panel will be."""
    return panel.get_position().width * figure_of(panel).get_figwidth()


def most_ticks(panel: Axes) -> int:
    """How many ticks a panel has room for."""
    return max(2, int(panel_width(panel) / 0.4))


def crowded(panel: Axes, ticks: Sequence[float]) -> bool:
    """Whether labels at these ticks would touch each other."""
    return len(apart(panel, ticks)) < len(ticks)


def apart(panel: Axes, ticks: Sequence[float]) -> list[float]:
    """The ticks whose labels do not touch that of an earlier one."""
    inches = 0.8 * panel_width(panel)
    low, high = panel.transData.transform([(end, 0) for end in panel.get_xlim()])[:, 0]
    places = (panel.transData.transform([(tick, 0) for tick in ticks])[:, 0] - low) / (high - low) * inches
    taken: list[tuple[float, float, float]] = []
    for tick, place in zip(ticks, places, strict=True):
        half = LETTER * len(shown(number(tick))) / 2
        if all(abs(place - other) > half + width for _, other, width in taken):
            taken.append((tick, place, half))
    return [tick for tick, _, _ in taken]


def shown(label: str) -> str:
    """The letters that are seen of a label."""
    return label.translate(str.maketrans("", "", "${}^")).replace(r"\cdot", ".")


def write_ticks(panel: Axes, ticks: Sequence[float] | np.ndarray) -> None:
    """Ticks with their labels, without those that would touch an earlier one."""
    kept = apart(panel, list(ticks))
    panel.set_xticks(kept, [number(tick) for tick in kept])


def thinned(labels: Sequence[str], inches: float, each: float) -> list[str]:
    """The labels of rows or columns, of which every k-th stays where all of them would touch."""
    stride = max(1, int(np.ceil(len(labels) * each / inches)))
    return [label if place % stride == 0 else "" for place, label in enumerate(labels)]
