import math

import pytest

from gan.callbacks import Collapse


def verdicts(collapse, *distances):
    return [collapse.detect({"fid": distance, "is": 1.0}) for distance in distances]


def test_comes_when_the_distance_stays_far_above_its_best():
    assert verdicts(Collapse(factor=2, patience=2), 100, 50, 99, 100, 120) == [False, False, False, False, True]


def test_a_good_value_in_between_starts_the_count_again():
    assert not any(verdicts(Collapse(factor=2, patience=2), 50, 100, 60, 100, 60, 100))


def test_a_nan_is_far_above():
    assert verdicts(Collapse(factor=2, patience=2), 50, math.nan, math.nan) == [False, False, True]


def test_goes_on_after_an_interruption():
    before, after = Collapse(factor=2, patience=2), Collapse(factor=2, patience=2)
    verdicts(before, 50, 100)
    after.load_state_dict(before.state_dict())
    assert verdicts(after, 100) == [True]
    assert str(after) == "fid was 2 times its best (50) or more, 2 times in a row"


def test_begins_anew_with_another_metric():
    before, after = Collapse("fd_digits", factor=2, patience=2), Collapse(factor=2, patience=2)
    for distance in 50, 100:
        before.detect({"fd_digits": distance})
    after.load_state_dict(before.state_dict())
    assert verdicts(after, 100, 150) == [False, False]


def test_refuses_what_makes_no_sense():
    for name in "kid", "kd_digits", "is", "recall_digits":
        with pytest.raises(ValueError, match=f"metric must be fid or fd_<network>, got '{name}'"):
            Collapse(name)
    with pytest.raises(ValueError, match="factor must be above 1, got 1"):
        Collapse(factor=1)
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        Collapse(patience=0)
    with pytest.raises(ValueError, match="metric must be one of fid, is, got 'fd_digits'"):
        verdicts(Collapse(metric="fd_digits"), 1)
