"""Exit status, as diff(1)'s: what is not a clean verdict is trouble."""

from typing import Final

SAME: Final = 0
DIFFERENT: Final = 1
TROUBLE: Final = 2
