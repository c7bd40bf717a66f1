"""The node types of a cluster file: Ray's cluster launcher YAML, or KubeRay's RayCluster, RayJob and RayService."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.errors import ConfigError
from placement.hardware import ACCELERATOR_LABEL, GPUS, Gpu

KUBERAY = ("RayCluster", "RayJob", "RayService")


@dataclass(frozen=True)
class NodeType:
    """One kind of node. ``resources`` are Ray's (CPU, GPU, custom), ``most`` how many of it there can ever be."""

    name: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    least: int
    most: int
    spot: bool
    idle_timeout_s: float | None

    @property
    def gpu(self) -> Gpu | None:
        """The data sheet of its GPUs, if they are labelled with a type that is known."""
        return GPUS.get(self.labels.get(ACCELERATOR_LABEL, ""))

    @property
    def pool(self) -> str | None:
        """Its label ``pool``."""
        return self.labels.get("pool")


@dataclass(frozen=True)
class ClusterFile:
    """All node types (the head's too, of which there is one) and how many workers there may be."""

    path: str
    head: str
    node_types: tuple[NodeType, ...]
    max_workers: int | None
    idle_timeout_s: float


def read_cluster(path: str | Path) -> ClusterFile:
    """Read a cluster file. Raises ConfigError with one sentence if it is missing or no cluster file."""
    path = Path(path)
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(d, dict)]
    except OSError as problem:
        raise ConfigError(
            f"the cluster file {path} can't be read ({problem.strerror}); give another --cluster"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(f"the cluster file {path} is not valid YAML ({str(problem).splitlines()[0]})") from None
    for document in documents:
        if "available_node_types" in document:
            return _launcher(str(path), document)
        if document.get("kind") in KUBERAY:
            return _kuberay(str(path), document)
    raise ConfigError(
        f"{path} is no cluster file: it has neither `available_node_types` (ray up) nor a kind among "
        f"{', '.join(KUBERAY)} (KubeRay)"
    )


def _launcher(path: str, document: dict[str, Any]) -> ClusterFile:
    head = document.get("head_node_type")
    types = document["available_node_types"]
    if head not in types:
        raise ConfigError(f"{path}: head_node_type {head!r} is not among {', '.join(types)}")
    found = []
    for name, node in types.items():
        node_config = node.get("node_config") or {}
        found.append(
            NodeType(
                name,
                {key: float(value) for key, value in (node.get("resources") or {}).items()},
                {key: str(value) for key, value in (node.get("labels") or {}).items()},
                1 if name == head else int(node.get("min_workers", 0)),
                1 if name == head else int(node.get("max_workers", 0)),
                _is_spot(node_config),
                node.get("idle_timeout_s"),
            )
        )
    idle = 60.0 * float(document.get("idle_timeout_minutes", 5))
    return ClusterFile(path, head, tuple(found), document.get("max_workers"), idle)


def _is_spot(node_config: Mapping[str, Any]) -> bool:
    """AWS spot market, or GCP spot and preemptible machines."""
    market = (node_config.get("InstanceMarketOptions") or {}).get("MarketType")
    scheduling = node_config.get("scheduling") or {}
    return market == "spot" or bool(scheduling.get("preemptible")) or scheduling.get("provisioningModel") == "SPOT"


def _kuberay(path: str, document: dict[str, Any]) -> ClusterFile:
    spec = document.get("spec") or {}
    spec = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    if "headGroupSpec" not in spec:
        raise ConfigError(f"{path}: its spec has no headGroupSpec")
    groups = [("head", spec["headGroupSpec"], 1, 1)] + [
        (group["groupName"], group, int(group.get("minReplicas", 0)), int(group.get("maxReplicas", 0)))
        for group in spec.get("workerGroupSpecs") or []
    ]
    found = [
        NodeType(
            name,
            dict(_pod_resources(group)),
            {key: str(value) for key, value in (group.get("labels") or {}).items()},
            least,
            most,
            False,
            group.get("idleTimeoutSeconds"),
        )
        for name, group, least, most in groups
    ]
    idle = float((spec.get("autoscalerOptions") or {}).get("idleTimeoutSeconds", 60))
    return ClusterFile(path, "head", tuple(found), None, idle)


def _pod_resources(group: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What Ray will see: the first container's limits, over which rayStartParams win."""
    limits = group["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    start = group.get("rayStartParams") or {}
    yield "CPU", float(start.get("num-cpus", limits.get("cpu", 0)))
    yield "GPU", float(start.get("num-gpus", limits.get("nvidia.com/gpu", 0)))
