"""The last titles are moved by hand: what is full stays full, and nobody is asked for much more than its share."""

from __future__ import annotations

import numpy as np

from fill.planning.balance import Board, balance


def board(room: list[float], asked: list[float], held_by: list[int], free: list[float]) -> Board:
    """Titles of one copy each, on two appliances of one throughput."""
    first = np.array(held_by)
    order = np.stack((first, 1 - first), axis=1)
    one_copy = np.zeros((len(room), 2))
    loads = one_copy.copy()
    one_copy[:, 0], loads[:, 0] = room, asked
    throughput = np.array([1e9, 1e9])
    return Board(order, one_copy, loads, np.array(free), throughput, sum(asked))


def test_a_hot_title_changes_places_with_several_cold_ones_where_none_of_them_makes_room_alone() -> None:
    made = board([10, 10, *[1] * 20], [5, 5, *[0] * 20], [0, 0, *[1] * 20], [20, 20])
    balance(made)
    assert made.loads.tolist() == [5, 5]
    assert made.rooms.tolist() == [20, 20]


def test_load_is_left_uneven_rather_than_an_appliance_overfull() -> None:
    made = board([10, 10, *[8] * 2], [5, 5, 0, 0], [0, 0, 1, 1], [20, 16])
    balance(made)
    assert made.loads.tolist() == [10, 0]
    assert (made.rooms <= made.free).all()


def test_an_overfull_appliance_gives_its_coldest_away() -> None:
    made = board([5, 5, 5, 5], [9, 1, 3, 3], [0, 0, 0, 1], [10, 10])
    balance(made)
    assert made.rooms.tolist() == [10, 10]
    assert made.positions[1].tolist() == [1, 0]


def test_what_is_hardly_warmer_than_all_else_is_left_where_it_is() -> None:
    """Half of an appliance's bytes for a tenth of its load: they would be moved again the next night."""
    made = board([1] * 20, [1.25] * 10 + [1.0] * 10, [0] * 10 + [1] * 10, [10, 10])
    balance(made)
    assert made.loads.tolist() == [12.5, 10]
