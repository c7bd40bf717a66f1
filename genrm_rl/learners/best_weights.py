"""Directories that all workers of a fit write together, and the weights that did best on held-out examples."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_rl.runtime.object_store import MARKER, fetch, upload_tree
from genrm_rl.runtime.storage import is_complete, publish_directory, read_manifest, remove_tree

if TYPE_CHECKING:
    from genrm_rl.learners.learner import Learner

STEP, LOSS = "best_step", "held_out_loss"


class BestWeights:
    """Of one fit, under its state directory. ``facts`` are step and held-out loss of the best so far, empty without
    any, and the same on every worker."""

    def __init__(self, state_dir: Path, model_dir: str | Path) -> None:
        self._state_dir, self._model_dir = state_dir, model_dir
        self.facts: dict[str, Any] = {}

    def restore(self) -> None:
        """What an earlier attempt has kept, as worker 0 finds it; a kill may have left its predecessor beside it."""
        import torch.distributed as dist

        found = [read_manifest(path) for path in self._state_dir.glob("best-*") if is_complete(path)]
        best = min(found, key=lambda each: each[LOSS], default={})
        chosen = [{name: best[name] for name in (STEP, LOSS) if name in best}]
        dist.broadcast_object_list(chosen)
        self.facts = chosen[0]

    def see(self, learner: Learner, step: int, loss: float) -> None:
        """Keep the learner's weights if none had a lower loss; every worker must call."""
        before = self.facts
        if not math.isfinite(loss) or (before and loss >= before[LOSS]):
            return
        best = {STEP: step, LOSS: loss}
        with published(learner, self._at(step), best) as directory:
            learner.save(directory, self._model_dir)
        self.facts = best
        if learner.rank == 0 and before and before[STEP] != step:
            remove_tree(self._at(before[STEP]))

    def copy_to(self, directory: Path) -> None:
        """The best weights as the result; for worker 0."""
        source = self._at(self.facts[STEP])
        fetch(source)
        shutil.copytree(source, directory, ignore=shutil.ignore_patterns(MARKER), dirs_exist_ok=True)
        upload_tree(directory)

    def _at(self, step: int) -> Path:
        return self._state_dir / f"best-{step + 1:07d}"


def is_due(every: int, step: int, total: int) -> bool:
    """Whether what happens after ``every`` steps (0: never) and at the end happens after ``step``."""
    return every > 0 and ((step + 1) % every == 0 or step + 1 == total)


@contextmanager
def published(learner: Learner, target: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """``publish_directory`` for all workers: worker 0 opens and completes it, every worker may write inside."""
    import torch.distributed as dist

    if learner.rank == 0:
        with publish_directory(target, manifest) as directory:
            dist.broadcast_object_list([str(directory)])
            yield directory
            dist.barrier()
    else:
        name = [None]
        dist.broadcast_object_list(name)
        yield Path(str(name[0]))
        dist.barrier()
    dist.barrier()
