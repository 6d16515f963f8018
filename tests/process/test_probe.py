"""The probe as the daemon calls it: a process that prints JSON and keeps nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aquahost_cuda.driver import EmulatedDriver, Faults
from driver_fixtures import MIB, small_node


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "aquahost_cuda.probe", *arguments]
    env = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=60)


def found(*arguments: str) -> dict[str, Any]:
    done = probe(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_it_prints_what_it_found_and_leaves_no_memory_taken(tmp_path: Path) -> None:
    node = small_node(tmp_path, gpus=2, faults=Faults(corrupt_peer_access=((1, 0),)))
    answer = found("--driver", "emulated", "--node", json.dumps(asdict(node)))
    assert [(gpu["index"], gpu["total_bytes"], gpu["lost"]) for gpu in answer["gpus"]] == [
        (0, 64 * MIB, None),
        (1, 64 * MIB, None),
    ]
    links = {(link["source"], link["target"]): link for link in answer["links"]}
    assert not links[0, 1]["usable"]
    assert "corrupted" in links[0, 1]["reason"]
    assert links[0, -1]["usable"]
    assert isinstance(answer["hints"], list)
    driver = EmulatedDriver(node)
    assert driver.memory_of(0) == (64 * MIB, 64 * MIB)
    driver.close()


def test_it_shows_parts(tmp_path: Path) -> None:
    fields = json.dumps({"path": str(tmp_path), "gpus": 1, "gpu_bytes": 64 * MIB})
    answer = found("--driver", "emulated", "--node", fields, "--partition", "2")
    assert [gpu["name"] for gpu in answer["gpus"]] == [
        "Emulated GPU (part 1 of 2)",
        "Emulated GPU (part 2 of 2)",
    ]


def test_without_a_driver_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = probe("--driver", "emulated")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "no topology: the emulated driver needs a node to emulate\n"


def test_a_node_that_cannot_be_is_a_wrong_argument(tmp_path: Path) -> None:
    for node in ("{", "[]", '{"path": "/x", "gpus": 0}', '{"path": "/x", "cats": 1}', '{"path": "/x", "faults": 3}'):
        done = probe("--node", node)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no node" in done.stderr
