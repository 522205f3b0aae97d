"""A laboratory for weight decay: `import wd_research as wd` is all that an experiment needs.

Every public name is here, and what it stands for is imported when it is first used, so that the door is quick to open
and starts no JAX. `__init__.pyi` says where each is at home.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
