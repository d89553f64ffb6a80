"""What each appliance of a site carries once steering has evened it out. Pure.

At first an object's viewers go to its holders in proportion to their throughput. As one of them fills up, steering
sends more of them to the others (`steering.spread`), which helps wherever an object has several holders. What
is left uneven then comes from objects that lie on the busy appliances alone, and no steering can help it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROUNDS: Final = 100
_EVEN: Final = 1.01
_LEAST_WEIGHT: Final = 1e-6
_SEED: Final = 7


def evened(
    demand: NDArray[np.float64], holders: NDArray[np.bool_], throughput: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The load of each appliance over its share by throughput; 1 is even.

    ``demand`` is by object, ``holders`` has a row per object and a column per appliance. Each object's viewers are
    split among its holders by weights that fall on who is above its share and rise on who is below.
    """
    patterns, asked = _by_holders(demand, holders)
    target = throughput / throughput.sum() * max(float(asked.sum()), 1e-30)
    weight = throughput / throughput.sum()
    loads = target
    for number in range(_ROUNDS):
        loads = weight * (patterns.T @ (asked / (patterns @ weight)))
        if float((loads / target).max()) <= _EVEN:
            break
        step = 0.7 * (1 - number / _ROUNDS)
        weight = np.maximum(weight * (target / np.maximum(loads, target * 0.1)) ** step, _LEAST_WEIGHT)
        weight /= weight.sum()
    found: NDArray[np.float64] = loads / target
    return found


def _by_holders(
    demand: NDArray[np.float64], holders: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each set of holders that occurs, as a row of ones and zeros, and what is asked for of all that it holds."""
    rng = np.random.default_rng(_SEED)
    marks = np.array(rng.integers(1, 1 << 62, holders.shape[1]), np.uint64)
    # A set's hash is the sum of its members' marks: two sets of some ten thousand agree once in 10^10 sites.
    hashes = np.zeros(len(holders), np.uint64)
    for box in range(holders.shape[1]):
        hashes += np.where(holders[:, box], marks[box], np.uint64(0))
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    patterns = holders[first].astype(np.float64)
    asked = np.asarray(np.bincount(which, demand, len(first)), np.float64)
    some = patterns.any(axis=1)
    return patterns[some], asked[some]
