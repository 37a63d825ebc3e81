"""bstudy: what is known and claimed about the batch size in training neural networks, tested in the open.

The public names are loaded when they are first used, so that the command line answers at once; see __init__.pyi.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
