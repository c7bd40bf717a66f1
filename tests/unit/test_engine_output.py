"""The cause of an engine's death is found in what its processes wrote."""

from __future__ import annotations

import pytest

from genrm_rl.rollout.engine_output import cause_in

LOG = """\
:actor_name:EngineActor
(EngineCore pid=812) ERROR 11-28 20:11:05 [core.py:1165] EngineCore failed to start.
(EngineCore pid=812) ERROR 11-28 20:11:05 [core.py:1165] Traceback (most recent call last):
(EngineCore pid=812) ERROR 11-28 20:11:05 [core.py:1165]   File "core.py", line 1139, in run_engine_core
(EngineCore pid=812) ERROR 11-28 20:11:05 [core.py:1165]     raise ValueError(
(EngineCore pid=812) ERROR 11-28 20:11:05 [core.py:1165] ValueError: 0.01 GiB KV cache is needed, 0.0 GiB are there
(EngineCore pid=812) Process EngineCore:
(EngineCore pid=812) Traceback (most recent call last):
(EngineCore pid=812) ValueError: 0.01 GiB KV cache is needed, 0.0 GiB are there
Traceback (most recent call last):
  File "llm.py", line 1, in make
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""


def test_the_cause_is_what_vllm_raised_not_where_it_says_to_look():
    assert cause_in(LOG) == "ValueError: 0.01 GiB KV cache is needed, 0.0 GiB are there"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to",
            "torch.OutOfMemoryError: CUDA out of memory. Tried to",
        ),
        ("[core.py:1] KeyError: 'rope'", "KeyError: 'rope'"),
        ("INFO no Error: here", None),
        ("", None),
    ],
)
def test_lines_that_are_causes(line, cause):
    assert cause_in(f"first\n{line}\nlast") == cause
