"""Fetch what a run takes from the Hub into its cache, so that the other jobs need no internet."""

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from selfcodealign.errors import UserError
from selfcodealign.rows_io import write_json
from selfcodealign.seeds.raw import fetched_shard
from selfcodealign.stage import run

log = logging.getLogger(__name__)

LEFT_OUT = ["*.bin", "*.pt", "*.pth", "*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*"]
"""Weights in another format than safetensors, which every model here has."""


def fetched_model(name: str, revision: str) -> dict[str, Any]:
    """Fetch a model into the cache; returns its name, and the commit behind its revision.

    Raises:
        UserError: the model is gated, does not exist, or the Hub cannot be reached.
    """
    try:
        folder = Path(snapshot_download(name, revision=revision, ignore_patterns=LEFT_OUT))
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated: accept its terms on its Hub page, then set HF_TOKEN to an access token"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"the Hub has no model {name}, or not for you; correct the config or set HF_TOKEN") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{name}@{revision} cannot be fetched: {str(error).splitlines()[0]}") from error
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"{name}@{revision} has no safetensors weights; name a revision that has them")
    return {"name": name, "revision": revision, "commit": folder.name}


def main(fetched: Path, *, models: list[str] | None = None, shards: list[str] | None = None) -> None:
    """Fetch what a run takes from the Hub into its cache, so that the other jobs need no internet.

    Args:
        fetched: what was fetched, and at which commits (JSON).
        models: models as NAME@REVISION.
        shards: raw shards as hf://datasets/ORG/NAME@REVISION/PATH.

    Raises:
        UserError: something is gated, does not exist, or cannot be reached.
    """
    found: dict[str, list[Any]] = {"models": [], "shards": []}
    for number, item in enumerate(models or []):
        log.info("model %d of %d: %s", number + 1, len(models or []), item)
        name, _, revision = item.partition("@")
        found["models"].append(fetched_model(name, revision))
    for number, shard in enumerate(shards or []):
        log.info("shard %d of %d: %s", number + 1, len(shards or []), shard)
        found["shards"].append({"name": shard, "bytes": fetched_shard(shard).stat().st_size})
    write_json(fetched, found)


if __name__ == "__main__":
    run(main)
