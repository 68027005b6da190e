"""What a piece of work costs, for tests that say it may not cost the square, or an hour.

How fast the machine is no test may ask (`bench/` does): a bound stands far above what the work takes, and far below
what it would take if it went wrong.
"""

import time
from collections.abc import Callable


def least(work: Callable[[], object], enough: float, tries: int = 5) -> float:
    """Seconds of processor time that `work` took at the least; after one try below `enough` there is no other.

    A collection of what other tests hold, or a cold cache, make some of the tries dearer, never all.
    """
    found = float("inf")
    for _ in range(tries):
        began = time.process_time()
        work()
        found = min(found, time.process_time() - began)
        if found < enough:
            break
    return found
