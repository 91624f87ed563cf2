"""Parses ``params.yaml`` into strict, frozen models; errors name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from mlops_cli.params.backtest import Backtest
from mlops_cli.params.base import LONGEST_NAME, Names, Section
from mlops_cli.params.evaluate import Evaluate
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.feedback import Feedback
from mlops_cli.params.ingest import Ingest
from mlops_cli.params.monitor import Monitor
from mlops_cli.params.register import Register
from mlops_cli.params.retrain import Retrain
from mlops_cli.params.serve import Serve
from mlops_cli.params.split import Split
from mlops_cli.params.task import Task
from mlops_cli.params.train import Train
from mlops_cli.params.tune import Tune
from mlops_cli.params.validate import Validate

__all__ = ["Params", "Project", "load", "parse"]


class Project(Section):
    """Name, seed and description of the project, and texts for the model card."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=LONGEST_NAME)]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The seed of every random choice in the pipeline."""
    owner: str = ""
    """The person or team responsible for the model, and how to reach them."""
    purpose: str = ""
    """What the predictions are for."""
    stakeholders: Names = ()
    """Who uses the predictions, and who is affected by them."""
    out_of_scope: Names = ()
    """Uses that the model isn't made for."""
    risks: Names = ()
    """What could go wrong for whom, and what is done about it."""
    license: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9.-]*)?$")] = ""
    """The licence's identifier, in lower case."""


class Params(Section):
    """All of ``params.yaml``."""

    project: Project
    task: Task
    ingest: Ingest
    validate_: Annotated[Validate, Field(alias="validate")] = Validate()
    featurize: Featurize
    split: Split = Split()
    tune: Tune = Tune()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    register_: Annotated[Register, Field(alias="register")]
    serve: Serve = Serve()
    feedback: Feedback = Feedback()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()
    backtest: Backtest = Backtest()

    @model_validator(mode="after")
    def _check_sources(self) -> Params:
        sources = self.ingest.sources
        featurize = self.featurize
        used = [("featurize.base", featurize.base)]
        used += [(f"featurize.joins.{k}.source", j.source) for k, j in featurize.joins.items()]
        used += [(f"featurize.windows.{k}.source", w.source) for k, w in featurize.windows.items()]
        used += [("featurize.clean source", c.source) for c in featurize.clean]
        used += [("validate.sources", name) for name in self.validate_.sources]
        used += [
            (f"validate.sources.{name}.references", ref.source)
            for name, rules in self.validate_.sources.items()
            for ref in rules.references
        ]
        for place, name in used:
            if name not in sources:
                msg = f"{place} names {name!r}, which is not one of ingest.sources: {list(sources)}"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_champion(self) -> Params:
        retrain, register = self.retrain, self.register_
        champion = None if register.champion is None else register.champion.stage
        if retrain.promote and champion != retrain.stage:
            msg = (
                "retrain.promote needs register.champion for the stage "
                f"{retrain.stage!r}: else a worse model could get there"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_stage_rule(self) -> Params:
        stage, stages = self.retrain.stage, self.register_.stages
        if not self.retrain.promote:
            return self
        if stage not in stages:
            msg = f"retrain.stage is {stage!r}, which is not among register.stages: {list(stages)}"
            raise ValueError(msg)
        rule = stages[stage]
        needs = [f"comes after {rule.after!r}"] if rule.after else []
        needs += [f"asks for {rule.approvals} approvals"] if rule.approvals else []
        if needs:
            msg = (
                f"retrain.promote could never put a new version into {stage!r}, which "
                f"{' and '.join(needs)} (register.stages): name a stage that asks for nothing "
                "before as retrain.stage, or set retrain.promote to false"
            )
            raise ValueError(msg)
        return self


def parse(text: str, where: str = "params.yaml") -> Params:
    """Parameters from YAML text.

    Raises
    ------
    BadParams
        With the line, the offending value and, for a misspelt key, the nearest known one.
    """
    from mlops_cli.params.reading import explain, read_yaml

    tree: Any = read_yaml(text, where)
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise explain(error, text, where, Params) from None


def load(path: Path) -> Params:
    """Parameters from a file; see ``parse``."""
    from mlops_cli.errors import BadParams, NotProject

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotProject(
            f"there is no {path.name} in {path.parent}",
            "Go to a project's folder, or make one with `mlops init`.",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadParams(
            f"{path} cannot be read as UTF-8 text: {' '.join(str(error).split())}",
            "Bring it back with `git checkout`.",
        ) from None
    return parse(text, path.name)
