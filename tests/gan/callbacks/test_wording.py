from gan.callbacks.wording import duration, scores_in_words


def test_scores_stand_with_the_deviation_that_can_be_seen():
    values = {"fd_digits": 0.87654, "is_digits": 3.0123, "is_digits_std": 0.0512, "loss/generator": 1.0}
    assert scores_in_words({**values, "evaluation_seconds": 3.0}) == "fd_digits 0.8765  is_digits 3.012 ± 0.051"
    assert scores_in_words({**values, "is_digits_std": 5e-8}) == "fd_digits 0.8765  is_digits 3.012"
    assert scores_in_words({"only_std": 2.0}) == "only_std 2"


def test_times_have_one_unit():
    assert [duration(seconds) for seconds in (0.2, 89, 90, 5399, 5400)] == [
        "1 s",
        "89 s",
        "2 minutes",
        "90 minutes",
        "2 hours",
    ]
