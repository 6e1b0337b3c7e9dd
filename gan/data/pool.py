"""Work on images in several processes."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_common: Any = None  # in a worker process: what all calls share, sent once


def run_all(
    function: Callable[[Any, Item], Result], common: Any, items: Iterable[Item], workers: int, at_once: int = 1
) -> Iterator[Result]:
    """Yield `function(common, item)` of all items in their order, computed by processes if there are several.

    Args:
        function: A function of a module.
        common: What all calls share.
        items: The items.
        workers: Number of processes.
        at_once: Items that a process gets at a time.
    """
    if workers == 1:
        yield from (function(common, item) for item in items)
        return
    context = get_context("fork" if sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(common,))
    try:
        yield from pool.map(partial(_call, function), items, chunksize=at_once)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(common: Any) -> None:
    global _common
    _common = common


def _call(function: Callable[[Any, Item], Result], item: Item) -> Result:
    return function(_common, item)
