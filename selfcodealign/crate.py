"""Describe a run as an RO-Crate: what archives and search engines of research data read beside `provenance.json`.

The profile is Process Run Crate (https://w3id.org/ro/wfrun/process): one action, its inputs, the workflow and the
programs that carried it out, and the files that came out of it. The crate's root is the results folder.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from selfcodealign.config.tables import BASE

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
KINDS = {".parquet": "application/vnd.apache.parquet", ".json": "application/json", ".html": "text/html"}


def describe(record: dict[str, Any], datasets: list[Path], models: list[Path], results: Path) -> dict[str, Any]:
    """Return the content of `ro-crate-metadata.json` of a run.

    Args:
        record: what `record_provenance` has recorded of the run.
        datasets: folders of its datasets, under `results`.
        models: folders of its models, under `results`.
        results: the folder of the run, which the crate describes.
    """
    crate = ROCrate()
    commit = record["code"]["commit"] or "unknown commit"
    crate.name = f"Self-alignment of {record['config']['model']['base']}"
    crate.description = (
        f"Datasets, models and scores of one run of SelfCodeAlign {record['code']['version']} at {commit}; "
        "provenance.json has its whole config, versions and hashes."
    )
    crate.datePublished = datetime.fromisoformat(record["recorded"]).astimezone(UTC)
    crate.root_dataset["conformsTo"] = {"@id": PROFILE}

    def context(identifier: str, **properties: Any) -> Any:
        return crate.add(ContextEntity(crate, identifier, properties=properties))

    def file(path: Path, **properties: Any) -> Any:
        kind = {"encodingFormat": KINDS[path.suffix]} if path.suffix in KINDS else {}
        described = {"name": path.name, **kind, **properties}
        return crate.add_file(dest_path=str(path.relative_to(results)), properties=described)

    context(PROFILE, **{"@type": "CreativeWork"}, name="Process Run Crate", version="0.5")

    results_of_run = [
        file(results / "report.html", description="The whole run on one page"),
        file(results / "provenance.json", description="Commit, config, versions, machine, seeds, hashes"),
    ]
    for folder in datasets:
        parts = [
            file(folder / name, sha256=held["sha256"], description=f"{held['rows']} rows")
            for name, held in record["datasets"][folder.name].items()
        ]
        results_of_run.append(_folder(crate, folder, results, f"Dataset of verified responses: {folder.name}", parts))
    for folder in models:
        hashes = record["models"][folder.name].get("files", {})
        parts = [file(folder / name, sha256=value) for name, value in hashes.items()]
        results_of_run.append(_folder(crate, folder, results, f"Fine-tuned model: {folder.name}", parts))

    base = record["models"][BASE]
    of_base = {"name": base["name"], "version": base.get("revision") or ""}
    inputs = [context("#base-model", **{"@type": "CreativeWork"}, **of_base)]
    inputs += [
        context(f"#raw-shard-{number}", **{"@type": "CreativeWork"}, name=shard["name"])
        for number, shard in enumerate(record["raw_shards"])
    ]
    workflow = context(
        "#workflow",
        **{"@type": ["SoftwareApplication", "ComputationalWorkflow", "SoftwareSourceCode"]},
        name="SelfCodeAlign",
        version=f"{record['code']['version']} ({commit})",
        programmingLanguage={"@id": "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"},
    )
    context(
        "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
        **{"@type": "ComputerLanguage"},
        name="Snakemake",
        version=record["packages"].get("snakemake", ""),
    )
    workflow["softwareRequirements"] = [
        context(f"#package-{name}", **{"@type": "SoftwareApplication"}, name=name, version=version)
        for name, version in record["packages"].items()
    ]
    action = context("#run", **{"@type": "CreateAction"}, name=crate.name, endTime=record["recorded"])
    action["instrument"] = workflow
    action["object"] = inputs
    action["result"] = results_of_run
    crate.root_dataset["mentions"] = action
    return crate.metadata.generate()


def _folder(crate: ROCrate, folder: Path, results: Path, name: str, parts: list[Any]) -> Any:
    """Add a folder of files to a crate."""
    added: Any = crate.add_directory(dest_path=str(folder.relative_to(results)), properties={"name": name})
    added["hasPart"] = parts
    return added
