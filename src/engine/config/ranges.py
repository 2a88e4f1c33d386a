"""Types with a range, for the arguments of classes that the config names.

`hidden: Count` in a constructor is all it takes: the config's value is checked against it before
a run's folder is made. Any other annotation that pydantic knows does as well.
"""

import math
from typing import Annotated

from annotated_types import Ge, Gt, Interval, Le, Lt

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
