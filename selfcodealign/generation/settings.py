"""Settings of a model and of the engine that runs it, shared by the config file and every generating script."""

from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from selfcodealign import plugins
from selfcodealign.errors import UserError

Settings = TypeVar("Settings", bound=BaseModel)

BACKENDS = ("transformers", "openai", "vllm")
"""This project's own; other packages bring more by entry point (`plugins.py`)."""
LOADING = ("transformers", "vllm")
"""Those to which a model is a folder, or an id of the Hub; to others its name may be anything."""

DECIDING = ("top_k", "min_p", "max_completion_tokens", "chat_template_kwargs", "extra_body")
"""Keys of the engine that change answers."""


def _mapping(given: Any) -> Any:
    """Read a mapping that a command line gives as text."""
    try:
        return yaml.safe_load(given) or {} if isinstance(given, str) else given
    except yaml.YAMLError as error:
        raise ValueError("is neither YAML nor JSON") from error


Keys = Annotated[dict[str, Any], BeforeValidator(_mapping)]


class ModelSettings(BaseModel):
    """Which model generates."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Hub id, local folder, or the name a server knows the model by")
    revision: str = Field(
        default="main", description="commit of a Hub model; the content hash of a local one is taken instead"
    )
    trust_remote_code: bool = Field(
        default=False, description="run Python code from the model's repository; only with a named revision"
    )


class EngineSettings(BaseModel):
    """How a model is run: the backend, its speed, and sampling options that only servers have."""

    model_config = ConfigDict(extra="forbid")

    backend: str = Field(
        default="transformers",
        examples=list(BACKENDS),
        description="`transformers` in process, `openai` for any OpenAI-compatible server, `vllm` for a "
        "server that the job starts; or the name of a backend in an installed package",
    )
    batch_size: int = Field(default=256, gt=0, description="transformers: rows decoded together")
    batch_tokens: int = Field(
        default=262_144, gt=0, description="transformers: maximum of rows × (own tokens + max_tokens) in one batch"
    )
    window: int = Field(
        default=4_096,
        gt=0,
        description="transformers: rows that are sorted by prefix and length before they are divided into batches",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="transformers, vllm: `auto` is bfloat16 on a GPU and float32 on a CPU; bfloat16 takes half the "
        "time on a CPU with instructions for it (AVX512-BF16, AMX)",
    )
    device: str = Field(default="auto", description="transformers: `auto`, `cpu`, `cuda`, `cuda:1`")
    threads: int = Field(
        default=1,
        gt=0,
        description="transformers on a CPU: torch threads; with 1, results do not depend on the machine's cores",
    )
    max_model_len: int = Field(default=0, ge=0, description="context length in tokens; 0 takes the model's own")
    base_url: str = Field(
        default="",
        validate_default=True,
        description="openai: address of the server, for example http://localhost:8000/v1",
    )
    api_key_env: str = Field(
        default="",
        description="openai: name of the environment variable that holds the key; empty for a server without keys",
    )
    api: Literal["completions", "chat"] = Field(
        default="completions", description="openai: endpoint to which prompts are sent"
    )
    top_k: int = Field(default=0, ge=0, description="number of most likely tokens from which to sample; 0 for all")
    min_p: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="openai, vllm: minimum probability, as a share of that of the most likely token",
    )
    max_completion_tokens: int = Field(
        default=0,
        ge=0,
        description="openai, vllm: maximum tokens of reasoning and answer together, for reasoning models; "
        "sent under this name instead of the stage's `max_tokens`; 0 sends `max_tokens`",
    )
    chat_template_kwargs: Keys = Field(
        default={}, description="openai with api `chat`: arguments of the server's chat template, as YAML or JSON"
    )
    extra_body: Keys = Field(
        default={},
        description="openai, vllm: additional keys of every request, as YAML or JSON; a key set to null is omitted",
    )
    concurrency: int = Field(default=64, gt=0, le=1000, description="openai, vllm: requests in flight")
    requests_per_minute: float = Field(default=0, ge=0, description="openai: rate limit; 0 for none")
    samples_per_request: int = Field(
        default=1,
        gt=0,
        description="openai, vllm: samples of one prompt per request (`n`), with the random seed of the first one",
    )
    timeout_s: float = Field(default=600, gt=0, description="openai, vllm: longest wait for one answer")
    retries: int = Field(default=6, ge=0, description="openai, vllm: retries after an error that may be temporary")
    backoff_s: float = Field(
        default=1.0, ge=0, description="openai, vllm: seconds before the first retry; doubles each time, up to 60 s"
    )
    startup_s: float = Field(default=1_800, gt=0, description="vllm: longest wait for the server to load its model")
    keep_server_s: float = Field(
        default=0,
        ge=0,
        description="vllm: seconds for which the server waits, after a job, for the next one with the same "
        "model and settings on this machine, or in the same SLURM job; with 0 it ends with its "
        "job",
    )
    python: str = Field(default="", description="vllm: Python interpreter that has vLLM; empty for the job's own")
    tensor_parallel: int = Field(default=0, ge=0, description="vllm: GPUs per model; 0 takes the job's GPUs")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="vllm: share of GPU memory to take")
    server_args: str = Field(default="", description="vllm: additional arguments of the server, as on a command line")

    @field_validator("backend")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name not in BACKENDS and name not in (others := plugins.named("backends", BACKENDS)):
            raise ValueError(f"should be one of {', '.join([*BACKENDS, *others])}, or that of an installed package")
        return name

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str, info: ValidationInfo) -> str:
        if info.data.get("backend") == "openai" and not url:
            raise ValueError("is empty; name the server, for example http://localhost:8000/v1")
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            whole = False
        if url and not whole:
            raise ValueError("is no address of a server; write it as in http://localhost:8000/v1")
        return url

    @field_validator(*(key for key in DECIDING if key != "top_k"))
    @classmethod
    def _is_known_to_backend(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what the in-process backend would leave out silently."""
        if value and info.data.get("backend") == "transformers":
            raise ValueError("only servers take it (engine.backend `openai` or `vllm`)")
        return value

    def decides(self) -> dict[str, Any]:
        """Return what changes answers and was set; a ledger made under another value is set aside."""
        chosen = {name: value for name in DECIDING if (value := getattr(self, name))}
        return chosen | plugins.content("backends", self.backend, BACKENDS)


def read_settings(kind: type[Settings], flag: str, values: dict[str, Any]) -> Settings:
    """Check the NAME=VALUE pairs of a flag.

    Raises:
        UserError: an unknown name or a wrong value; the sentence names the flag and the key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"; known keys: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{flag}: {key}: {first['msg'].removeprefix('Value error, ')}{known}") from error
