"""TRL's GRPOTrainer with sealed checkpoints, this project's decoder and sandbox, and seeds that know no process."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from selfcodealign.config.training import TrainGrpo
from selfcodealign.generation.backends import Sampling
from selfcodealign.generation.backends.transformers import TransformersBackend
from selfcodealign.generation.settings import EngineSettings
from selfcodealign.ids import seed_for
from selfcodealign.training.rewards import Answer, Judged, Worth
from selfcodealign.training.trainer import SealedCheckpoints

STAGE = "train_grpo"
Judge = Callable[[Sequence[Answer]], list[Worth]]
Note = Callable[[int, Sequence[Judged]], object]
"""Takes in a step, from 1, and its answers, those of one task next to each other."""


class Reinforcing(SealedCheckpoints, GRPOTrainer):
    """A trainer whose answers are judged outside.

    Args:
        judge: says what answers are worth.
        note: keeps the rewards of all processes; called in the first alone.
        settings: of the run.
        run_seed: training seed; with the step, the task and the answer's place it seeds each answer.
    """

    def __init__(self, *args: Any, judge: Judge, note: Note, settings: TrainGrpo, run_seed: int, **kwargs: Any) -> None:
        super().__init__(*args, reward_funcs=self.reward, **kwargs)
        self.judge, self.note, self.settings, self.run_seed = judge, note, settings, run_seed
        self.decoder: TransformersBackend | None = None
        self.asked: list[dict[str, Any]] = []
        self.parses: list[bool] = []
        self.passes: list[bool] = []

    def reward(
        self,
        completion_ids: list[list[int]],
        tests: list[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """Return the rewards of this process's answers; None where the sandbox failed."""
        tokenizer: Any = self._tokenizer
        ends = {*self.eos_token_ids, tokenizer.pad_token_id}
        answers = [
            Answer(
                tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                test,
                len(tokens),
                finished=tokens[-1] in ends,
            )
            for tokens, test in zip(completion_ids, tests, strict=True)
        ]
        worths = self.judge(answers)
        self.parses = [worth.parses for worth in worths]
        self.passes = [worth.tests == 1 for worth in worths]
        known = [worth for worth in worths if worth.tests is not None]
        for name in ("tests", "parses", "form", "brevity"):
            if known:
                log_metric(name, sum(float(getattr(worth, name)) for worth in known) / len(known))
        return [worth.total(self.settings) for worth in worths]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Generate and judge; what TRL draws at random besides depends on step and process alone."""
        step = f"step {self.state.global_step}, process {self.accelerator.process_index}"
        torch.manual_seed(seed_for(self.run_seed, STAGE, step))
        self.asked = inputs
        return super()._generate_and_score_completions(inputs)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Write the answers with this project's decoder, each from a seed of its own, unless vLLM does."""
        if self.use_vllm:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        first = self.accelerator.process_index * len(prompt_ids)
        seeds = [
            seed_for(self.run_seed, STAGE, f"step {self.state.global_step}, {row['id']}, answer {first + place}")
            for place, row in enumerate(self.asked)
        ]
        sampling = Sampling(self.settings.temperature, 1.0, self.settings.answer_tokens)
        wrapped, arguments = cast("Any", self.model_wrapped), cast("GRPOConfig", self.args)
        gathered = arguments.ds3_gather_for_generation
        with unwrap_model_for_generation(wrapped, self.accelerator, gather_deepspeed3_params=gathered) as network:
            if self.decoder is None:
                engine = EngineSettings(device=str(self.accelerator.device))
                self.decoder = TransformersBackend((self._tokenizer, network), engine)
            answers = self.decoder.answer([list(prompt) for prompt in prompt_ids], seeds, sampling)
        return answers, None

    def _calculate_rewards(self, inputs: list[dict[str, Any]], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Judge the answers, and note the groups of all processes."""
        found = super()._calculate_rewards(inputs, *args, **kwargs)
        ids = gather_object([row["id"] for row in inputs])
        parses, passes = gather_object(self.parses), gather_object(self.passes)
        if self.accelerator.is_main_process:
            totals = [None if total != total else total for total in found[:, 0].tolist()]
            self.note(self.state.global_step + 1, list(map(Judged, ids, totals, parses, passes)))
        return found
