"""A finished search in the format of Optuna's dashboard."""

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from mlops_cli.training.search.study_export import write_study


def searched(seed):
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed))

    def objective(trial):
        value = trial.suggest_float("linear.penalty", 0.1, 1.0, log=True)
        trial.report(value, 1)
        if trial.number == 2:
            raise optuna.TrialPruned
        trial.set_user_attr("iterations", 7)
        return value

    study.optimize(objective, n_trials=4)
    return study


def test_optuna_reads_back_what_was_written(tmp_path):
    study, path = searched(1), tmp_path / "study.journal"
    write_study(path, study.get_trials(), "maximize")
    lock = JournalFileOpenLock(str(tmp_path / "lock"))
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    again = optuna.load_study(study_name="search", storage=storage)
    assert again.direction.name == "MAXIMIZE"
    assert [t.state.name for t in again.trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    for ours, theirs in zip(study.trials, again.trials, strict=True):
        assert (ours.params, ours.value, ours.user_attrs, ours.intermediate_values) == (
            theirs.params,
            theirs.value,
            theirs.user_attrs,
            theirs.intermediate_values,
        )
    assert again.best_value == study.best_value


def test_the_same_trials_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_study(tmp_path / name, searched(1).get_trials(), "maximize")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
