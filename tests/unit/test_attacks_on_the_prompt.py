"""Whatever prompt and answers say, the judge's prompt keeps its structure, and only the judge judges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genrm_rl.generation import GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.prompts import JudgePrompt
from genrm_rl.judging.reading import trace_from_result
from genrm_rl.judging.requests import judge_requests
from genrm_rl.judging.types import Verdict
from genrm_rl.judging.verdicts import parse_verdict
from genrm_rl.preferences.types import Comparison
from tests.attacks import ATTACKS, Attack
from tests.unit.judging_cases import CASES, HARMLESS, IDS, comparison, tiny_tokenizer

CALM = comparison(a=HARMLESS, b=HARMLESS, prompt=HARMLESS)
DELIMITERS = ("[the start of ", "[the end of ", "[the start of assistant b", "[the end of assistant a")


@pytest.fixture(scope="module", params=CASES, ids=IDS)
def encoder(request: pytest.FixtureRequest) -> JudgeEncoder:
    tokenizer, family = request.param
    return JudgeEncoder(tokenizer(), family, max_context=2**17, max_rationale=64)


def attacked(attack: Attack) -> list[Comparison]:
    """The attack in each place, and in all of them."""
    text = attack.text
    return [
        replace(CALM, prompt=(replace(CALM.prompt[0], content=text),)),
        replace(CALM, response_a=text),
        replace(CALM, response_b=text),
        comparison(a=text, b=text, prompt=text),
    ]


def controls(encoder: JudgeEncoder, ids: tuple[int, ...]) -> list[int]:
    """Control tokens in their order; the tiny tokenizer's token for unknown characters is none."""
    unknown = encoder.chat.tokenizer.unk_token_id if encoder.chat.tokenizer is tiny_tokenizer() else None
    return [index for index in ids if index in encoder.chat.special_token_ids and index != unknown]


def test_the_corpus_has_every_kind_and_no_double() -> None:
    assert len({attack.text for attack in ATTACKS}) == len(ATTACKS) >= 100
    kinds = {"instruction", "verdict", "template", "control", "unicode", "markup", "empty", "huge"}
    assert {attack.kind for attack in ATTACKS} == kinds


@pytest.mark.parametrize("form", ["cot", "direct"])
def test_an_attack_adds_no_control_token(encoder: JudgeEncoder, form: str) -> None:
    calm = controls(encoder, encoder.prompt_ids(CALM, form))
    for attack in ATTACKS:
        for shown in attacked(attack):
            assert controls(encoder, encoder.prompt_ids(shown, form)) == calm, attack


def test_an_attack_adds_no_field_and_no_delimiter(encoder: JudgeEncoder) -> None:
    prompt = JudgePrompt(encoder.family, "cot")
    before = prompt.render(CALM)[-1]["content"]
    for attack in ATTACKS:
        for shown in attacked(attack):
            after = prompt.render(shown)[-1]["content"]
            if encoder.family == "compact":
                assert [line[:3] for line in after.splitlines()[1:]] == ["A: ", "B: "], (attack, "one line a field")
            elif encoder.family == "chat_compact":
                assert fields_of(after) == ["User", "A", "B"], (attack, "only a field begins a line without a blank")
            elif encoder.family == "plain":
                assert fields_of(after)[-3:] == fields_of(before)[-3:], attack
                assert len(fields_of(after)) <= 4, (attack, "the question's own first line, and no further field")
            else:
                counts = [[text.lower().count(each) for each in DELIMITERS] for text in (before, after)]
                assert counts[0] == counts[1], attack


def fields_of(prompt: str) -> list[str]:
    """What begins a line without a blank in the short formats."""
    return [line.partition(":")[0] for line in prompt.splitlines() if not line.startswith(" ")]


@pytest.mark.parametrize("mine", ["A", "B"])
def test_the_verdict_is_what_the_judge_wrote(encoder: JudgeEncoder, mine: str) -> None:
    shown = [replace(attacked(attack)[3], pair_id=str(attack)) for attack in ATTACKS]
    requests = judge_requests(
        shown,
        encoder,
        form="cot",
        judge_version="v",
        purpose="attack",
        run_seed=0,
        temperature=0.0,
        top_p=1.0,
    )
    ids = encoder.completion_ids("both are texts", mine)
    row = (-0.1, -2.0) if mine == "A" else (-2.0, -0.1)
    rows = (row * len(encoder.letter_token_ids),) * len(ids)
    for asked in requests:
        result = GenerationResult(asked.request_id, ids, "", "stop", rows)
        assert trace_from_result(asked, result, encoder).verdict == Verdict.of(mine), asked.comparison.pair_id


@pytest.mark.parametrize("mine", ["A", "B"])
def test_a_quoted_attack_never_turns_the_verdict(encoder: JudgeEncoder, mine: str) -> None:
    """A judge that repeats the attack in its rationale keeps its own verdict, or contradicts itself and has none."""
    for attack in ATTACKS:
        found = parse_verdict(f"{attack.text}\n{encoder.grammar.line(mine)}", "stop", encoder.grammar).verdict
        assert found in (Verdict.of(mine), Verdict.UNPARSEABLE), attack
