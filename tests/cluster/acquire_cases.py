"""Runs the cases of test_acquire.py on a cluster of pretended nodes; prints one JSON object per case."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.learners.group import LearnerRoom
from genrm_rl.learners.scoring import task_options
from placement import acquire as acquire_module
from placement.acquire import Request, acquire

ENGINES = {"GPU": 1.0, "CPU": 1.0}


@ray.remote
class Probe:
    """Says where it is."""

    def place(self) -> tuple[str, list[str]]:
        """Its node's pool and its GPU ids."""
        node = ray.get_runtime_context().get_node_id()
        return node, [str(index) for index in ray.get_gpu_ids()]


def say(case: str, **facts: object) -> None:
    print(json.dumps({"case": case, **facts}), flush=True)


def own_pool() -> str:
    """The pool of the node that runs this."""
    return ray.get_runtime_context().get_node_labels().get("pool", "")


def pools_of(group: PlacementGroup) -> list[str]:
    """The pool of each bundle's node."""
    pools = {node["NodeID"]: node["Labels"].get("pool", "") for node in ray.nodes()}
    return [pools[node] for node in placement_group_table(group)["bundles_to_node_id"].values()]


def unfinished_groups() -> int:
    """Groups that still ask for room."""
    return sum(group["state"] in ("PENDING", "RESCHEDULING") for group in placement_group_table().values())


def refused(case: str, request: Request, *, grows: bool, deadline: float = 3.0) -> None:
    before = len(placement_group_table())
    try:
        acquire(request, deadline=deadline, grows=grows, say=lambda line: None)
    except EnvironmentProblem as problem:
        made = len(placement_group_table()) - before
        say(case, error=str(problem), groups_made=made, pending_after=unfinished_groups())


def state_of(group: PlacementGroup, wanted: str) -> str:
    """The group's state, waited for."""
    for _ in range(600):
        if placement_group_table(group)["state"] == wanted:
            break
        time.sleep(0.1)
    return placement_group_table(group)["state"]


def main() -> None:
    acquire_module.SAY_EVERY_SECONDS = 1.0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        run(cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()


def run(cluster: Cluster) -> None:
    lines: list[str] = []
    saw = threading.Condition()

    def listen(line: str) -> None:
        with saw:
            lines.append(line)
            saw.notify_all()

    # Nodes come as they do on an autoscaling pool: after somebody has waited, one after the other.
    with ThreadPoolExecutor(1) as waiting:
        request = Request("engines", 4, ENGINES, "rollout", "rollout.engines")
        acquired = waiting.submit(acquire, request, deadline=120, grows=True, say=listen)
        nodes = []
        for heard in ("0 such nodes up", "1 such node up"):
            with saw:
                saw.wait_for(lambda heard=heard: acquired.done() or any(heard in line for line in lines))
            nodes.append(cluster.add_node(num_cpus=4, num_gpus=2, labels={"pool": "rollout"}))
        engines = acquired.result()
    say("pending", said=lines, nodes=pools_of(engines))

    cluster.add_node(num_cpus=8, num_gpus=4, labels={"pool": "learner"})
    learners = acquire(
        Request("learners", 2, ENGINES, "learner", "learner.workers"), deadline=120, grows=True, say=listen
    )
    say("learner_pool", nodes=pools_of(learners))
    remove_placement_group(learners)
    config = LearnerConfig(cpus_per_worker=1, gpus_per_worker=1, pool="learner")
    places = ray.get([ray.remote(own_pool).options(**task_options(config)).remote() for _ in range(6)])
    say("score_tasks", nodes=places)

    refused("deadline", Request("engines", 8, ENGINES, "rollout", "rollout.engines"), grows=True)
    refused("never", Request("engines", 1, {"GPU": 3.0}, "rollout", "rollout.tensor_parallel"), grows=False)
    refused("no_pool", Request("judge", 1, ENGINES, "judge", "serving.max_replicas"), grows=False)
    refused("too_many", Request("engines", 12, ENGINES, "rollout", "rollout.engines"), grows=False)

    os.environ["RAY_ADDRESS"] = cluster.address
    room = LearnerRoom(LearnerConfig(workers=2, cpus_per_worker=1, gpus_per_worker=1, pool="learner"), 3, listen)
    probes = [(rank, Probe.options(**room.options(rank)).remote()) for rank in (0, 1) for _ in range(3)]
    gpus = defaultdict(list)
    hosts = []
    for rank, probe in probes:
        node, ids = ray.get(probe.place.remote())
        gpus[rank] += ids
        hosts.append(node)
    say("shared", gpus=gpus, nodes=hosts)
    room.close()

    states = [state_of(engines, "CREATED")]
    cluster.remove_node(nodes[-1], allow_graceful=False)
    states.append(state_of(engines, "RESCHEDULING"))
    cluster.add_node(num_cpus=4, num_gpus=2, labels={"pool": "rollout"})
    states.append(state_of(engines, "CREATED"))
    say("node_loss", states=states)


if __name__ == "__main__":
    main()
