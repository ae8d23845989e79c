"""What counts as an integer at every entrance. It needs no JAX: tables and command lines use it, too."""

from typing import Any

import numpy as np


def is_integer(value: Any) -> bool:
    """Return whether a value is one plain integer; a bool is not, nor is a NumPy duration, which NumPy counts as one.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core._integers import is_integer
        >>> is_integer(np.int64(3)), is_integer(True), is_integer(np.timedelta64(3, "s"))
        (True, False, False)
    """
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)
