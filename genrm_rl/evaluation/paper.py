"""Numbers of the paper that reports show beside their own (arXiv 2410.12832, figures 1 to 5 and tables 1 and 3).

Llama-3.1-8B on UltraFeedback and RewardBench: a run of this project compares with the pattern, never with the size.
"""

from __future__ import annotations

from genrm_rl.evaluation.schema import PaperRow

_IN, _OUT = "trained on UltraFeedback, in distribution", "trained on UltraFeedback, RewardBench"
_READ = "read off the text"

PAPER_ROWS: tuple[PaperRow, ...] = (
    PaperRow(method="LLM judge (base)", setting=_IN, value=67.4, note="67.4 to 67.8 in different places"),
    PaperRow(method="BT / PairRM / GenRM", setting=_IN, value=73.5, note="about 73 to 74"),
    PaperRow(method="STaR-SFT", setting=_IN, value=67.4, note="no gain over the base judge"),
    PaperRow(method="STaR-DPO", setting=_IN, value=73.9, note=_READ),
    PaperRow(method="LLM judge (base)", setting=_OUT, value=77.8, note="75.2 in the prompt ablation"),
    PaperRow(method="GenRM (no reasoning)", setting=_OUT, value=78.9, note="best of BT, PairRM and GenRM"),
    PaperRow(method="STaR-SFT", setting=_OUT, value=77.05, note="third iteration, maj@32"),
    PaperRow(method="STaR-DPO", setting=_OUT, value=81.9, note=_READ),
    PaperRow(
        method="STaR-Rationalizer", setting=f"{_OUT}, maj@1", value=67.62, note="third iteration; 71.73 after the first"
    ),
    PaperRow(method="maj@32 minus maj@1", setting=_IN, value=1.6, note="points, STaR-DPO"),
    PaperRow(method="maj@32 minus maj@1", setting=_OUT, value=3.8, note="points, STaR-DPO"),
)
