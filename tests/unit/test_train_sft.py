"""What is trained on, in which steps, with which weights, and which settings are refused."""

import json
import math
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfcodealign.config import TrainSft
from selfcodealign.errors import UserError
from selfcodealign.training import checkpoints, checks, memory, processes, schedule, sft
from selfcodealign.training.documents import Document, fitted


def document(tokens: int = 10, prompt: int = 4, row: str = "row-0") -> Document:
    """Make a document of numbered tokens, the last being the end."""
    return Document(row, (*range(1, tokens), 0), prompt)


# ---- rows too long ----


@pytest.mark.parametrize(
    ("tokens", "prompt", "limit", "truncation", "fate", "left"),
    [
        (10, 4, 10, "drop", "kept", 10),
        (10, 4, 9, "drop", "too_long", None),
        (10, 4, 9, "cut", "cut", 9),
        (10, 4, 9, "cut_without_end", "cut_without_end", 9),
        (10, 8, 9, "cut", "prompt_too_long", None),
        (10, 7, 9, "cut", "cut", 9),
        (30, 9, 9, "cut_without_end", "prompt_too_long", None),
    ],
)
def test_rows_over_the_limit(
    tokens: int, prompt: int, limit: int, truncation: Any, fate: str, left: int | None
) -> None:
    short, found = fitted(document(tokens, prompt), max_tokens=limit, truncation=truncation)
    assert found == fate
    assert (len(short.tokens) if short else None) == left


def test_a_row_cut_short_still_teaches_its_end() -> None:
    short, _ = fitted(document(10), max_tokens=8, truncation="cut")
    assert short is not None
    assert short.tokens == (1, 2, 3, 4, 5, 6, 7, 0)
    assert short.has_end


def test_only_the_reference_mode_trains_on_a_missing_end_and_says_so() -> None:
    short, fate = fitted(document(10), max_tokens=8, truncation="cut_without_end")
    assert short is not None
    assert 0 not in short.tokens
    assert (short.has_end, fate) == (False, "cut_without_end")


def test_cut_rows_are_counted() -> None:
    made = sft.funnel(Counter(kept=5, cut=2, cut_without_end=1, too_long=3, prompt_too_long=1, not_drawn=4), 9)
    assert made["entered"] == made["kept"] + sum(made["dropped"].values()) == 16
    assert (made["kept"], made["produced"], made["dropped"]["not_drawn"]) == (8, 9, 4)
    assert (made["cut"], made["cut_without_end"]) == (3, 1)


# ---- steps ----

LENGTHS = st.lists(st.integers(min_value=2, max_value=50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 3), st.integers(1, 16), st.booleans())
def test_every_row_is_trained_on_once_an_epoch(lengths: list[int], epochs: int, batch: int, packing: bool) -> None:
    documents = [document(length, 1, f"row-{number}") for number, length in enumerate(lengths)]
    planned = schedule.steps(documents, epochs=epochs, seed=1, batch_rows=batch, packing=packing, micro_batch_tokens=60)
    assert len(planned) == math.ceil(epochs * len(lengths) / batch)
    assert Counter(number for step in planned for number in step.documents) == dict.fromkeys(
        range(len(lengths)), epochs
    )
    for step in planned:
        assert Counter(number for content in step.bins for number in content) == Counter(step.documents)
        assert all(sum(lengths[number] for number in content) <= 60 for content in step.bins)


@given(LENGTHS, st.integers(1, 5))
def test_processes_share_a_step_in_equally_many_micro_batches(lengths: list[int], count: int) -> None:
    documents = [document(length, 1, f"row-{number}") for number, length in enumerate(lengths)]
    for step in schedule.steps(documents, epochs=1, seed=1, batch_rows=8, packing=True, micro_batch_tokens=60):
        shares = [step.share(process, count) for process in range(count)]
        assert len({len(share) for share in shares}) == 1
        assert sorted(content for share in shares for content in share if content) == sorted(step.bins)


@given(LENGTHS, st.sampled_from(["reference", "token"]))
def test_the_weights_of_a_step_sum_to_one(lengths: list[int], loss: Any) -> None:
    documents = [document(length, 1, f"row-{number}") for number, length in enumerate(lengths)]
    (step,) = schedule.steps(documents, epochs=1, seed=1, batch_rows=99, packing=False, micro_batch_tokens=60)
    weights = schedule.token_weights(documents, step, loss)
    total = sum(weights[number] * documents[number].response_tokens for number in step.documents)
    assert total == pytest.approx(1)


def test_the_reference_loss_gives_each_row_the_same_say() -> None:
    documents = [document(11, 1, "row-a"), document(101, 1, "row-b")]
    (step,) = schedule.steps(documents, epochs=1, seed=1, batch_rows=2, packing=False, micro_batch_tokens=60)
    by_row = schedule.token_weights(documents, step, "reference")
    by_token = schedule.token_weights(documents, step, "token")
    assert by_row == {0: 1 / 20, 1: 1 / 200}
    assert by_token == {0: 1 / 110, 1: 1 / 110}


def test_the_order_depends_on_the_seed_and_the_ids_and_on_nothing_else() -> None:
    documents = [document(row=f"row-{number}") for number in range(30)]
    names = [documents[at].row_id for at in schedule.ordered(documents, epochs=2, seed=1)]
    turned = documents[::-1]
    assert [turned[at].row_id for at in schedule.ordered(turned, epochs=2, seed=1)] == names
    assert [documents[at].row_id for at in schedule.ordered(documents, epochs=2, seed=2)] != names
    assert names[:30] != names[30:]


def test_packing_fills_micro_batches() -> None:
    assert schedule.packed([0, 1, 2, 3, 4], [5, 9, 4, 6, 1], capacity=10) == [(1, 4), (3, 2), (0,)]


def test_packing_counts_a_common_beginning_once() -> None:
    documents = [document(30, 21, f"row-{number}") for number in range(3)]
    apart, shared = (
        schedule.steps(
            documents, epochs=1, seed=1, batch_rows=3, packing=True, micro_batch_tokens=50, shared_tokens=common
        )
        for common in (0, 20)
    )
    assert [len(step.bins) for step in (*apart, *shared)] == [3, 1]


def test_validation_rows_are_chosen_by_id() -> None:
    ids = [f"row-{number}" for number in range(2_000)]
    chosen = [row for row in ids if sft.is_held_out(row, 0.1, seed=3)]
    assert 150 < len(chosen) < 250
    assert not [row for row in ids if sft.is_held_out(row, 0.0, seed=3)]
    assert set(chosen) <= {row for row in ids if sft.is_held_out(row, 0.2, seed=3)}


# ---- settings ----


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "adafactor", "deepspeed": "config/deepspeed/zero2.json"}, "ZeRO stage 2, which flattens"),
        (
            {"precision": "bf16_pure", "deepspeed": "config/deepspeed/zero3.json"},
            "ZeRO stage 3, which keeps fp32",
        ),
        ({"max_tokens": 9_000}, "micro_batch_tokens .5120. is below train_sft.max_tokens .9000."),
        ({"keep": "best"}, "set train_sft.validation_share"),
        ({"deepspeed": "no/such.json"}, "no/such.json, which does not exist"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        checks.check(TrainSft(**changes))


def test_a_tracker_that_is_not_installed_is_named_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"train_sft.tracker is wandb, .* `pip install wandb`"):
        checks.check(TrainSft(tracker="wandb"))
    checks.check(TrainSft(tracker="none"))


def test_the_default_settings_and_the_papers_are_accepted() -> None:
    checks.check(TrainSft())
    checks.check(
        TrainSft(
            learning_rate=1e-5,
            optimizer="adafactor",
            batch_rows=64,
            max_tokens=1_280,
            micro_batch_tokens=1_280,
            truncation="cut_without_end",
            loss="reference",
            packing=False,
            precision="bf16_pure",
        )
    )


def test_without_fp32_weights_torch_takes_the_place_of_stage_0() -> None:
    assert checks.engine(TrainSft()) is not None
    assert checks.engine(TrainSft(precision="bf16_pure")) is None
    assert checks.engine(TrainSft(deepspeed="none")) is None


def test_the_script_has_the_defaults_of_the_config() -> None:
    from scripts.train_sft import main
    from selfcodealign.stage import read

    paths = [f"--{name}=x" for name in ("dataset", "model", "metrics", "example", "funnel", "work", "base")]
    paths += ["--mode=fixed", "--run-seed=1"]
    assert read(main, paths)["settings"] == TrainSft()
    assert read(main, [*paths, "--epochs=2"])["settings"] == TrainSft(epochs=2)


@pytest.mark.parametrize("name", ["zero0", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"])
def test_a_deepspeed_configuration_is_what_its_name_says(name: str) -> None:
    assert memory.configuration_name(checks.read_deepspeed(f"config/deepspeed/{name}.json")) == name


def test_a_deepspeed_configuration_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text("{")
    with pytest.raises(UserError, match="mine.json is not valid JSON"):
        checks.read_deepspeed(str(file))


# ---- processes ----


def test_one_process_needs_no_launcher() -> None:
    assert processes.launcher(1, 1, {}) is None


def test_several_processes_are_started_by_torchrun() -> None:
    command = processes.launcher(4, 1, {})
    assert command is not None
    assert command[1:5] == ["-m", "selfcodealign.training.launch", "--nproc-per-node", "4"]


def test_processes_of_one_machine_meet_at_an_address_that_needs_no_name() -> None:
    command = processes.launcher(2, 1, {})
    assert command is not None
    assert command[command.index("--rdzv-endpoint") + 1] == "127.0.0.1:0"


def test_a_step_in_progress_has_an_hour_after_sigterm() -> None:
    command = processes.launcher(2, 1, {})
    assert command is not None
    assert command[command.index("--shutdown-timeout") + 1] == "3600"


HOLDER = """
import signal, sys, time
from pathlib import Path
from selfcodealign.training import checks
lock = checks.sole_writer(Path(sys.argv[1]))
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("writes", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("holder", ["asked", "deaf"])
def test_one_training_writes_into_a_folder(
    holder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A training that outlived its killed Snakemake is asked to stop; while it goes on, no second one begins."""
    monkeypatch.setattr(processes, "SHUTDOWN_S", 10 if holder == "asked" else 1)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "work"), holder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "writes\n"
        if holder == "asked":
            checks.sole_writer(tmp_path / "work").close()
            assert other.wait(timeout=10) == -signal.SIGTERM
        else:
            with pytest.raises(UserError, match=rf"another training \(process {other.pid} on .*\) writes into"):
                checks.sole_writer(tmp_path / "work")
        assert f"training process {other.pid} still writes into" in caplog.text
        checks.sole_writer(tmp_path / "elsewhere").close()
    finally:
        other.kill()
        other.wait()
    checks.sole_writer(tmp_path / "work").close()


@pytest.mark.parametrize(
    "other", [({"SLURM_JOB_ID": "78"}, "work/a"), ({"SLURM_JOB_ID": "77"}, "work/b"), ({"SLURM_JOB_ID": "7"}, "work/a")]
)
def test_no_two_trainings_meet_at_one_port(other: tuple[dict[str, str], str]) -> None:
    def meeting(environment: dict[str, str], run: str) -> str:
        command = processes.launcher(8, 2, environment, hosts=["node3"], run=run)
        assert command is not None
        return command[command.index("--rdzv-endpoint") + 1]

    assert meeting({"SLURM_JOB_ID": "77"}, "work/a") == meeting({"SLURM_JOB_ID": "77"}, "work/a")
    assert meeting({"SLURM_JOB_ID": "77"}, "work/a") != meeting(*other)


def test_several_nodes_meet_at_the_first_host_of_the_job() -> None:
    command = processes.launcher(8, 2, {"SLURM_JOB_ID": "77"}, hosts=["node3", "node4"])
    assert command is not None
    assert command[:8] == ["srun", "--overlap", "--nodes", "2", "--ntasks", "2", "--ntasks-per-node", "1"]
    assert command[command.index("--rdzv-endpoint") + 1].startswith("node3:")


def test_srun_hears_of_the_job_and_not_of_the_step_of_one_task() -> None:
    environment = {"SLURM_JOB_ID": "77", "SLURM_NNODES": "1", "SLURM_NTASKS": "1", "PATH": "/bin"}
    assert processes.handed_down(environment) == {"SLURM_JOB_ID": "77", "PATH": "/bin"}


def test_srun_enters_the_container_on_each_node() -> None:
    environment = {"SLURM_JOB_ID": "77"}
    command = processes.launcher(8, 2, environment, hosts=["node3"], container="apptainer exec --nv train.sif")
    assert command is not None
    start = command.index("apptainer")
    assert command[start - 1] == "1"
    entered = ["apptainer", "exec", "--nv", "train.sif", "python", "-m", "selfcodealign.training.launch"]
    assert command[start : start + 7] == entered


def test_several_nodes_outside_a_cluster_job_are_refused() -> None:
    with pytest.raises(UserError, match="this is no SLURM job"):
        processes.launcher(8, 2, {})


def test_a_process_under_a_launcher_goes_on_by_itself() -> None:
    assert processes.launcher(2, 1, {"WORLD_SIZE": "2", "RANK": "0"}) is None
    with pytest.raises(UserError, match="started 3 processes but the config asks for 1 node"):
        processes.launcher(2, 1, {"WORLD_SIZE": "3", "RANK": "0"})


def test_a_variable_that_a_shell_kept_is_no_launcher() -> None:
    assert processes.launcher(1, 1, {"WORLD_SIZE": "1"}) is None
    assert processes.launcher(1, 1, {"WORLD_SIZE": "4"}) is None


# ---- checkpoints ----


def checkpoint(folder: Path, step: int) -> Path:
    """Write a sealed checkpoint of one file."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "weights.pt").write_bytes(bytes(range(256)) * 20)
    checkpoints.seal(made)
    return made


def test_the_newest_checkpoint_is_the_one_of_the_most_steps(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    assert checkpoints.last_good(tmp_path) == newest
    assert checkpoints.last_good(tmp_path / "nothing here") is None


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda folder: (folder / "weights.pt").unlink(), "weights.pt is missing"),
        (lambda folder: (folder / "weights.pt").write_bytes(b"x"), "weights.pt has changed"),
        (lambda folder: (folder / "seal.json").unlink(), "its writing was cut off"),
        (lambda folder: (folder / "seal.json").write_text("{"), "seal.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(harm: Any, sentence: str, tmp_path: Path) -> None:
    good, bad = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    harm(bad)
    assert sentence in (checkpoints.damage(bad) or "")
    assert checkpoints.last_good(tmp_path) == good
    assert not bad.exists()


def test_one_changed_byte_in_a_file_too_large_to_hash_whole_shows_in_its_size_or_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "WHOLE", 2**20)
    file = tmp_path / "large"
    file.write_bytes(b"\0" * (2**20 * 3 + 5))
    before = checkpoints.digest(file)
    with file.open("r+b") as sink:
        sink.seek(-3, 2)
        sink.write(b"x")
    assert checkpoints.digest(file) != before


# ---- memory ----

LLAMA_7B = memory.Shape(6_738_415_616, 6_738_415_616, 32, 4_096, 4_096, 11_008, True, 32_000)


def test_zero_stages_divide_what_they_say() -> None:
    one, four = ({plan.name: plan for plan in memory.plans(LLAMA_7B, processes=count)} for count in (1, 4))
    assert one["zero0"].fixed == pytest.approx(16 * LLAMA_7B.parameters)
    assert four["zero0"].fixed == one["zero0"].fixed
    assert four["zero1"].optimizer == one["zero1"].optimizer / 4
    assert four["zero2"].gradients == one["zero2"].gradients / 4
    assert four["zero3"].weights == one["zero3"].weights / 4
    assert four["zero3_offload"].fixed < four["zero3"].fixed
    assert four["zero3_offload"].host > 0


def test_activation_checkpointing_trades_memory() -> None:
    whole = memory.per_token(LLAMA_7B, fp32=False, checkpointing=False)
    spared = memory.per_token(LLAMA_7B, fp32=False, checkpointing=True)
    assert spared < whole / 5


def test_the_papers_15b_model_just_fits_one_gpu_of_80_gb() -> None:
    starcoder = memory.Shape(15_957_889_024, 15_957_889_024, 40, 6_144, 512, 24_576, False, 49_152)
    (plan,) = memory.plans(starcoder, processes=1, precision="bf16_pure", optimizer="adafactor")
    assert 0.8 < plan.needed(1_280) / 80e9 < 1.05


def test_a_run_record_of_other_settings_moves_the_old_checkpoints_away(tmp_path: Path) -> None:
    work = tmp_path / "aligned"
    sft.set_aside_if_changed(work, "a")
    checkpoint(work, 3)
    sft.set_aside_if_changed(work, "a")
    assert (work / "checkpoint-3").exists()
    sft.set_aside_if_changed(work, "b")
    assert not (work / "checkpoint-3").exists()
    assert (tmp_path / "aligned.old/checkpoint-3").exists()
    assert json.loads((work / "run.json").read_text()) == {"fingerprint": "b"}
