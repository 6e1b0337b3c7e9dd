"""Threads by the cores that a process may use, with the files of control groups as Linux has them."""

import math
import os

import pytest
import torch
import yaml
from test_cli import small, train  # noqa: F401 (a fixture)

from gan.cli import machine, threads
from gan.cli.threads import cpu_quota, let_waiting_threads_spin_briefly, usable_cores


@pytest.fixture
def unset(monkeypatch):
    """An environment that says nothing of threads; torch's number is restored afterwards."""
    before = torch.get_num_threads()
    for name in (*threads.NUMBERS, *threads.WAITING, "SLURM_CPUS_PER_TASK"):
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it
        monkeypatch.delenv(name)
    yield monkeypatch
    torch.set_num_threads(before)


def groups(root, membership, files):
    for path, text in {"proc/self/cgroup": membership, **files}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


V1 = "4:memory:/job\n2:cpu,cpuacct:/docker/1234"
QUOTAS = {
    "version 2": ("0::/", {"sys/fs/cgroup/cpu.max": "250000 100000"}, 2.5),
    "version 2, no limit": ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, math.inf),
    "version 2, the group above is tighter": (
        "0::/slurm/job_1",
        {"sys/fs/cgroup/slurm/job_1/cpu.max": "800000 100000", "sys/fs/cgroup/slurm/cpu.max": "400000 100000"},
        4.0,
    ),
    "version 1": (
        V1,
        {
            "sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu,cpuacct/docker/1234/cpu.cfs_period_us": "100000",
        },
        1.5,
    ),
    "version 1, the path is the host's": (
        V1,
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        3.0,
    ),
    "version 1, no limit": (
        V1,
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
        math.inf,
    ),
    "another controller's limit": ("4:memory:/", {"sys/fs/cgroup/cpu.max": "100000 100000"}, math.inf),
    "no files": ("0::/", {}, math.inf),
}


@pytest.mark.parametrize("case", QUOTAS)
def test_the_quota_of_control_groups(case, tmp_path):
    membership, files, cores = QUOTAS[case]
    assert cpu_quota(groups(tmp_path, membership, files)) == cores


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("allowed", "quota", "processes", "cores"),
    [
        (8, "max", 1, 8),
        (8, "250000", 1, 2),
        (2, "400000", 1, 2),
        (8, "50000", 1, 1),
        (8, "max", 3, 2),
        (2, "max", 4, 1),
    ],
)
def test_cores_are_those_allowed_within_the_quota_and_shared(allowed, quota, processes, cores, tmp_path, unset):
    unset.setattr(threads, "_allowed_cores", lambda: allowed)
    root = groups(tmp_path, "0::/", {"sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    assert usable_cores(processes, root) == cores


def test_a_slurm_task_has_its_own_cores(unset):
    unset.setattr(threads, "_allowed_cores", lambda: 64)
    unset.setenv("SLURM_CPUS_PER_TASK", "8")
    assert usable_cores(processes=4) == 8


def test_cores_are_those_of_the_affinity(unset):
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(allowed)])
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("environment", "added"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "active"}, {}),
        ({"GOMP_SPINCOUNT": "100"}, {}),
    ],
)
def test_waiting_threads_spin_briefly_unless_the_user_says_otherwise(environment, added):
    before = dict(environment)
    let_waiting_threads_spin_briefly(environment)
    assert environment == before | added


def cores(monkeypatch, number, at_import=None):
    monkeypatch.setattr(machine, "usable_cores", lambda processes: max(1, number // processes))
    monkeypatch.setattr(machine, "_THREADS_AT_IMPORT", at_import or torch.get_num_threads())


def test_threads_are_within_the_cores(unset):
    torch.set_num_threads(8)
    cores(unset, 3)
    assert machine.choose_threads() == torch.get_num_threads() == 3
    assert os.environ["OMP_NUM_THREADS"] == "3", "for processes that it starts"


def test_processes_share_the_cores(unset):
    torch.set_num_threads(8)
    cores(unset, 8)
    assert machine.choose_threads(processes=2) == torch.get_num_threads() == 4


@pytest.mark.parametrize("name", threads.NUMBERS)
def test_the_environment_s_number_holds(name, unset):
    cores(unset, 64)
    torch.set_num_threads(3)
    unset.setenv(name, "3")
    assert machine.choose_threads() == machine.choose_threads(asked=5) == torch.get_num_threads() == 3


def test_a_number_set_in_code_holds(unset):
    cores(unset, 64, at_import=8)
    torch.set_num_threads(3)
    assert machine.choose_threads() == torch.get_num_threads() == 3
    assert os.environ["OMP_NUM_THREADS"] == "3", "or Lightning would choose"


def test_the_command_line_s_number_holds_over_all(unset):
    cores(unset, 1, at_import=8)
    unset.setenv("OMP_NUM_THREADS", "3")
    assert machine.choose_threads(asked=2, insists=True) == torch.get_num_threads() == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_a_run_s_number_is_kept_and_said_if_it_is_too_large(unset):
    torch.set_num_threads(4)
    cores(unset, 2)
    with pytest.warns(UserWarning, match="threads is 4, but there are 2 cores for this process: --threads 2 is faster"):
        assert machine.choose_threads(asked=4) == 4


def test_a_run_says_its_threads_and_that_they_changed(train, unset):  # noqa: F811
    run = train(*small("--trainer.max_steps=1", "--threads=1")) / "quickstart" / "version_0"
    text = (run / "config.yaml").read_text()
    assert yaml.safe_load(text)["threads"] == torch.get_num_threads() == 1
    (run / "config.yaml").write_text(text.replace("\nthreads: 1\n", "\nthreads: 2\n"))
    with pytest.warns(UserWarning, match="not the checkpoint's: .*threads was 2, is 1"):
        train("fit", "--resume", str(run), "--trainer.max_steps=2")


def test_less_than_one_thread_is_refused(train, capsys):  # noqa: F811
    with pytest.raises(SystemExit):
        train(*small("--trainer.max_steps=1", "--threads=0"))
    assert capsys.readouterr().err == "error: threads must be at least 1, got 0\n"
