"""How nets are trained: data, models, tasks, one step, and a population of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["texts"])
