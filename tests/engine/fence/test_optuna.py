"""What is relied on of Optuna beyond its documentation: a new version breaks here, by name."""

import optuna

from engine.fence.optuna import trial_of


def test_trial_of_goes_on_with_a_trial() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    number = study.ask().number
    trial = trial_of(study, study.get_trials(deepcopy=False)[number])
    assert trial.number == number
    assert trial.suggest_float("lr", 0.0, 1.0) == study.trials[number].params["lr"]
    trial.report(0.5, step=3)
    trial.set_user_attr("status", "finished")
    assert len(study.trials) == 1
    assert study.trials[number].intermediate_values == {3: 0.5}
    assert study.trials[number].user_attrs == {"status": "finished"}
