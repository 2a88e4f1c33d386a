"""One process by itself; tests/engine/run/test_resume.py has two."""

import pytest
import torch

from engine import processes


def test_a_process_by_itself_knows_its_own_value() -> None:
    assert not processes.is_one_of_several()
    assert processes.gathered({"a": 1}) == [{"a": 1}]
    assert processes.own(["x"]) == "x"
    assert processes.own([]) is None


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_of_several_processes_is_the_first(
    environment: dict[str, str], is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in processes.RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, rank in environment.items():
        monkeypatch.setenv(name, rank)
    assert processes.is_first() == is_first


def test_in_a_group_of_processes() -> None:
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    try:
        assert processes.is_one_of_several()
        assert processes.gathered(3) == [3]
        assert processes.own([4, 5]) == 4
    finally:
        torch.distributed.destroy_process_group()
