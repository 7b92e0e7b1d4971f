"""Which model of a run stands in which row and column of the paper's tables."""

from collections.abc import Iterator
from dataclasses import dataclass

from selfcodealign.config.config import Config
from selfcodealign.config.tables import BASE, DOES_IT_PAY, Table
from selfcodealign.errors import UserError
from selfcodealign.paper import COLUMNS, Column, rows_of


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table that this run can produce."""

    row: str
    column: str
    model: str
    source: Column


def evaluated(config: Config) -> dict[str, list[str]]:
    """List for each model the benchmarks that it is evaluated on, in the order of the config."""
    found = {BASE: list(config.benchmarks)} if config.evaluate_base else {}
    for name, model in {**config.models, **config.other_models}.items():
        chosen = config.benchmarks if model.benchmarks is None else model.benchmarks
        found[name] = [benchmark for benchmark in config.benchmarks if benchmark in chosen]
    return found


def cells(config: Config, name: str) -> list[Cell]:
    """List the cells of a table that this run fills, row by row.

    Rows that the config names are filled whole; rows that follow from `paper_models`, as far as a model is evaluated.

    Raises:
        ValueError: the table names a row, column or model that there is not, or one that cannot fill it.
    """
    table, columns, published = config.tables[name], COLUMNS[name], rows_of(name)
    known = evaluated(config)
    found = []
    if table.rows:
        for row, column, model in _named(table):
            key = f"tables.{name}.rows.{row}"
            if row not in published:
                raise ValueError(f"{key}: the paper's table has no such row; it has {', '.join(published)}")
            if column is not None and column not in columns:
                raise ValueError(f"{key}.{column}: the table has no such column; it has {', '.join(columns)}")
            if model not in known:
                raise ValueError(f"{key}: no model named {model!r} is evaluated; there are {', '.join(known)}")
            for label, source in columns.items() if column is None else [(column, columns[column])]:
                if source.kind not in ("score", "wins") and not _aligned(config, model):
                    raise ValueError(f"{key}: {model!r} is not trained on data of this run, so it has no {label}")
                absent = [benchmark for benchmark in source.benchmarks if benchmark not in known[model]]
                if absent:
                    raise ValueError(f"{key}: {model!r} is not evaluated on {', '.join(absent)}; add it")
                found.append(Cell(row, label, model, source))
    else:
        for model, row in config.paper_models.items():
            for label, source in columns.items() if row in published else ():
                if source.benchmarks and set(source.benchmarks) <= set(known.get(model, [])):
                    found.append(Cell(row, label, model, source))
        if not found:
            raise ValueError(f"tables.{name}: no model fills it; name its rows, or models in paper_models")
    return found


def benchmarks_of_arms(config: Config) -> list[str]:
    """List the benchmarks that all models of the arms of `does_it_pay` are evaluated on.

    Raises:
        ValueError: arms are missing, name a model that is not evaluated, share one, or share no benchmark.
    """
    key, table, known = f"tables.{DOES_IT_PAY}.arms", config.tables[DOES_IT_PAY], evaluated(config)
    if table.rows or len(table.arms) < 2:
        raise ValueError(f"{key}: name two arms or more, each with its models; this table has no rows of the paper")
    models = [model for arm in table.arms.values() for model in arm]
    for arm, members in table.arms.items():
        if not members:
            raise ValueError(f"{key}.{arm}: names no model; name one for each seed")
        for model in members:
            if model not in known:
                raise ValueError(f"{key}.{arm}: no model named {model!r} is evaluated; there are {', '.join(known)}")
            if models.count(model) > 1:
                raise ValueError(f"{key}.{arm}: {model!r} stands in the arms twice; leave one out")
    shared = [name for name in config.benchmarks if all(name in known[model] for model in models)]
    if not shared:
        raise ValueError(f"{key}: no benchmark is one that all of these models are evaluated on")
    return shared


def check_tables(config: Config) -> None:
    """Check that a model of this run fills each table that the config names.

    Raises:
        UserError: a table names a row, column or model that there is not, or one that cannot fill it.
    """
    for name in config.tables:
        try:
            if name == DOES_IT_PAY:
                benchmarks_of_arms(config)
            else:
                cells(config, name)
        except ValueError as error:
            raise UserError(f"config: {error}") from None


def _aligned(config: Config, model: str) -> bool:
    """Whether a model is trained on one dataset, which this run makes."""
    weights = config.models[model].weights if model in config.models else {}
    return len(weights) == 1 and set(weights) <= set(config.datasets)


def _named(table: Table) -> Iterator[tuple[str, str | None, str]]:
    """Yield row, column (None for all) and model of a table's rows."""
    for row, what in table.rows.items():
        if isinstance(what, str):
            yield row, None, what
        else:
            for column, model in what.items():
                yield row, column, model
