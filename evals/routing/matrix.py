"""Full information: what every model is worth on every prompt. What the offline evals replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from services.contracts.errors import ConfigError

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]
PER_1K = 1000.0
_PAIR = 2
_MILLION = 1e6


@dataclass(frozen=True)
class Matrix:
    """Outcomes of `models` on `prompts`.

    Attributes:
        name: of the table.
        prompts: [n]; ids: [n]. models: [m], in alphabetical order.
        quality: [n, m], 0..1.
        cost: [n, m], USD; where the table has no prices, 1 for a call to the strong model and else 0.
        latency_s: [n, m], NaN where it was not measured.
        priced: whether `cost` is money.
        pair: columns of the (weak, strong) model, where there are two.
        incomplete: prompts of the table that are left out, as not every model has an answer to them.
    """

    name: str
    prompts: Sequence[str]
    ids: Sequence[str]
    models: tuple[str, ...]
    quality: Floats
    cost: Floats
    latency_s: Floats
    priced: bool
    pair: tuple[int, int] | None
    incomplete: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: npt.NDArray[np.intp]) -> Matrix:
        """Only these prompts."""
        return replace(
            self,
            prompts=[self.prompts[i] for i in rows],
            ids=[self.ids[i] for i in rows],
            quality=self.quality[rows],
            cost=self.cost[rows],
            latency_s=self.latency_s[rows],
        )

    @property
    def unit(self) -> str:
        """What `cost` is counted in, once it is multiplied by `per`."""
        return "USD per 1K requests" if self.priced else "share of calls to the strong model"

    @property
    def per(self) -> float:
        """From the mean cost of a request to the axis of the reports."""
        return PER_1K if self.priced else 1.0


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float


def to_matrix(
    frame: pl.DataFrame,
    name: str,
    models: Sequence[str] | None = None,
    prices: Mapping[str, Price] | None = None,
    *,
    priced: bool | None = None,
    strong: str | None = None,
) -> Matrix:
    """The prompts that all models have answered, as a matrix.

    Args:
        frame: an outcome table.
        models: those to take; by default all in the table.
        prices: for models whose rows have tokens but no cost.
        priced: whether costs are money; by default, whether every row has a cost.
        strong: the model whose calls are counted where there are no prices; by default the best of the table.

    Raises:
        ConfigError: a model is not in the table, or no prompt was answered by all of them.
    """
    known = sorted(frame["model"].unique().to_list())
    if unknown := sorted(set(models or ()) - set(known)):
        raise ConfigError(f"{name}: no rows of model {', '.join(unknown)}; it has {', '.join(known)}")
    chosen = tuple(sorted(models)) if models else tuple(known)
    frame = _with_prices(frame.filter(pl.col("model").is_in(chosen)), prices or {})
    key = pl.concat_str("source", "prompt_id", separator="\0").alias("key")
    frame = frame.with_columns(key)
    complete = frame.group_by("key", maintain_order=True).agg(pl.col("prompt").first(), pl.len())
    prompts = complete.height
    complete = complete.filter(pl.col("len") == len(chosen))
    if complete.is_empty():
        raise ConfigError(f"{name}: no prompt was answered by all of {', '.join(chosen)}")

    def wide(column: str) -> Floats:
        table = frame.pivot(on="model", index="key", values=column, maintain_order=True)
        rows = complete.select("key").join(table, on="key", how="left", maintain_order="left")
        return rows.select(chosen).cast(pl.Float64).to_numpy().copy()

    quality, cost = wide("quality"), wide("cost_usd")
    money = bool(np.isfinite(cost).all()) if priced is None else priced
    best = chosen.index(strong) if strong else int(quality.mean(axis=0).argmax())
    if money and not np.isfinite(cost).all():
        raise ConfigError(f"{name}: some rows have no cost; give --prices, or tables with costs throughout")
    if not money:
        cost = np.zeros_like(quality)
        cost[:, best] = 1.0
    return Matrix(
        name=name,
        prompts=complete["prompt"].to_list(),
        ids=complete["key"].to_list(),
        models=chosen,
        quality=quality,
        cost=cost,
        latency_s=wide("latency_s"),
        priced=money,
        pair=(1 - best, best) if len(chosen) == _PAIR else None,
        incomplete=prompts - complete.height,
    )


def _with_prices(frame: pl.DataFrame, prices: Mapping[str, Price]) -> pl.DataFrame:
    """Costs of rows that have tokens but no cost. Without a price they stay unknown."""
    table = pl.DataFrame(
        [(model, p.input_usd_per_mtok, p.output_usd_per_mtok) for model, p in prices.items()],
        schema={"model": pl.String, "in_usd": pl.Float64, "out_usd": pl.Float64},
        orient="row",
    )
    tokens = (pl.col("input_tokens") * pl.col("in_usd") + pl.col("output_tokens") * pl.col("out_usd")) / _MILLION
    joined = frame.join(table, on="model", how="left", maintain_order="left")
    return joined.with_columns(pl.col("cost_usd").fill_null(tokens)).drop("in_usd", "out_usd")


def counting(matrix: Matrix, strong: int) -> Matrix:
    """The same outcomes, with the calls to this model as their cost."""
    cost = np.zeros_like(matrix.cost)
    cost[:, strong] = 1.0
    return replace(matrix, cost=cost)


def split(matrix: Matrix, held_out: float, seed: int) -> tuple[Matrix, Matrix]:
    """(to train on, to test on), by prompt: texts that occur twice stay on one side."""
    texts, of_text = np.unique(np.asarray(matrix.prompts, dtype=object).astype(str), return_inverse=True)
    tested = np.zeros(len(texts), dtype=bool)
    tested[np.random.default_rng(seed).permutation(len(texts))[: round(held_out * len(texts))]] = True
    return matrix.take(np.flatnonzero(~tested[of_text])), matrix.take(np.flatnonzero(tested[of_text]))


def without(matrix: Matrix, others: Matrix) -> Matrix:
    """Only prompts whose text is not among those of `others`: what is tested on is never trained on."""
    seen = frozenset(others.prompts)
    return matrix.take(np.array([i for i, text in enumerate(matrix.prompts) if text not in seen], dtype=np.intp))
