"""Fits a scikit-learn classifier from a recipe, and evaluates it on held-out rows."""

from __future__ import annotations

import warnings
from typing import Any, assert_never

from sklearn.ensemble import GradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crossfade_backends.data import Sample
from crossfade_backends.recipes import Recipe
from crossfade_backends.registry import Classifier, Metrics, Scorer


def fit(recipe: Recipe, train: Sample) -> Classifier:
    """`train` is the result of `Recipe.prepare`."""
    classifier = _build(recipe)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # of a network: it gets so many epochs, and no more
        classifier.fit(train.features, train.churned)
    return classifier


def _build(recipe: Recipe) -> Classifier:
    match recipe.estimator:
        case "logistic_regression":
            pipeline: Classifier = make_pipeline(StandardScaler(), LogisticRegression(**recipe.options))
            return pipeline
        case "gradient_boosting":
            boosting: Classifier = GradientBoostingClassifier(**recipe.options)
            return boosting
        case "neural_network":
            network: Classifier = make_pipeline(StandardScaler(), _network(**recipe.options))
            return network
        case _:
            assert_never(recipe.estimator)


def _network(layers: float, width: float, **options: float) -> Any:
    return MLPClassifier((int(width),) * int(layers), **options)


def evaluate(classifier: Scorer, held_out: Sample) -> Metrics:
    """`held_out` has amounts in euros, as the server receives them, whatever units the training data had."""
    scores = classifier.predict_proba(held_out.features)[:, 1]
    truth = held_out.churned
    return Metrics(
        auc=float(roc_auc_score(truth, scores)),
        log_loss=float(log_loss(truth, scores)),
        brier=float(brier_score_loss(truth, scores)),
        accuracy=float(accuracy_score(truth, scores >= 0.5)),
        n=len(truth),
    )
