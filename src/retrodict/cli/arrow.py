"""pyarrow for commands that use nothing of it that needs numpy or pandas."""

from __future__ import annotations

import sys
from typing import cast


def arrow_alone() -> None:
    """Import pyarrow as where there is neither numpy nor pandas: it does without, and they take 0.35 s to load.

    What stands for None in `sys.modules` cannot be imported (the Python Language Reference, 5.3.1).
    """
    if "pandas" in sys.modules:
        return
    hidden = {name: None for name in ("numpy", "pandas") if name not in sys.modules}
    modules = cast("dict[str, object]", sys.modules)
    modules.update(hidden)
    try:
        import pyarrow as pa  # 50 ms
        import pyarrow.compute

        pa.scalar(0)  # it looks for pandas once
    finally:
        for name in hidden:
            del modules[name]
