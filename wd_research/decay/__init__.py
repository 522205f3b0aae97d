"""What is studied: masks, penalties, pulls, and the places where decay acts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["cores", "equilibrium", "schedules"])
