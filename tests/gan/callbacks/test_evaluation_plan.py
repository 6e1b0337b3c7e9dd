import pytest

from gan.callbacks.evaluation_plan import Plan, announcement, default_plan


def test_a_cpu_evaluates_less():
    cpu, gpu = default_plan("cpu"), default_plan("cuda")
    assert cpu.num_samples < gpu.num_samples
    assert cpu.every_n_steps > gpu.every_n_steps


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.001, "about 1 s"), (0.2, "about 20 s"), (1.8, "about 3 minutes"), (72, "about 2 hours")]
)
def test_announcement(seconds, said):
    plan = Plan(num_samples=1999, every_n_steps=5000, batch_size=20)
    assert announcement(plan, seconds, num_reference=0) == f"evaluation: 1,999 samples every 5,000 steps, {said} each"


def test_announcement_of_the_reference():
    text = announcement(Plan(2000, 5000, batch_size=20), 1.8, num_reference=50_000)
    assert text.endswith("; first, once for all runs, 50,000 reference images, about 75 minutes")


def test_nothing_is_below_one():
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        Plan(num_samples=1, every_n_steps=0, batch_size=1)
