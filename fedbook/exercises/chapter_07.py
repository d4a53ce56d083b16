"""The exercises of chapter 7, clients that differ."""

import numpy as np

from fedbook.exercises.answers import Choice, Function, Number


def chance_distance(n: int, shares: np.ndarray) -> float:
    """Returns about what total variation an IID client with n examples shows by chance."""
    deviations = np.sqrt(2 / np.pi * shares * (1 - shares) / n)
    return float(deviations.sum() / 2)


def after_local_steps(w: float, a: float, c: float, eta: float, tau: int) -> float:
    """Returns where tau gradient steps of length eta on a/2 (w - c)^2 lead from w."""
    return c + (1 - eta * a) ** tau * (w - c)


def ifca_server(models: np.ndarray, losses: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Returns IFCA's models [m, d] after a round.

    Args:
      models: [m, d].
      losses: [k, m], of each client for each model.
      deltas: [k, d], of each client, which has trained the model with its smallest loss.
    """
    chosen = losses.argmin(axis=1)
    new = models.copy()
    for number in np.unique(chosen):
        new[number] += deltas[chosen == number].mean(axis=0)
    return new


def recall(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns for each digit the share of its images that were read correctly, [10]."""
    return np.array([np.mean(answers[labels == digit] == digit) for digit in range(10)])


def _draw_shares(rng: np.random.Generator) -> tuple[int, np.ndarray]:
    return int(rng.integers(5, 300)), rng.dirichlet(np.ones(int(rng.integers(2, 12))))


def _draw_steps(rng: np.random.Generator) -> tuple[float, float, float, float, int]:
    w, c = rng.normal(size=2).tolist()
    return w, float(rng.uniform(0.5, 4)), c, float(rng.uniform(0.02, 0.2)), int(rng.integers(2, 9))


def _draw_round(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three models and seven clients, who choose the first model and the last one."""
    losses = rng.uniform(1, 2, size=(7, 3))
    losses[[0, 2, 5], 0] = losses[[1, 3, 4, 6], 2] = 0.5
    return rng.normal(size=(3, 4)), losses, rng.normal(size=(7, 4))


def _draw_answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.permutation(np.concatenate([np.arange(10), rng.integers(0, 10, 40)]))
    answers = np.where(rng.random(50) < 0.6, labels, rng.integers(0, 10, 50))
    return answers, labels


def _all_into_the_best(models, losses, deltas):
    new = models.copy()
    new[losses.mean(axis=0).argmin()] += deltas.mean(axis=0)
    return new


def _divided_by_all(models, losses, deltas):
    new = models.copy()
    for number, delta in zip(losses.argmin(axis=1), deltas):
        new[number] += delta / len(deltas)
    return new


def _summed(models, losses, deltas):
    new = models.copy()
    for number, delta in zip(losses.argmin(axis=1), deltas):
        new[number] += delta
    return new


EXERCISES = {
    "07-1": Choice(
        expected="d",
        options={
            "a": "nothing is said about how many examples each of them holds.",
            "b": "both see the same kinds of photographs, and what one of them calls urgent is "
            "not rarer. It is another photograph.",
            "c": "the photographs look the same at both. What is done with them differs.",
            "d": "P(x) is the same and P(y|x) is not, so no single model can be right for both.",
        },
    ),
    "07-2": Number(
        3,
        mistakes={
            "that is the other direction. Is the sum over ten classes larger or smaller than one "
            "component?": 0.03,
            "that is the same number, but the two papers do not mean the same by alpha.": 0.3,
        },
    ),
    "07-3": Function(
        chance_distance,
        _draw_shares,
        mistakes={
            "the total variation is half of the sum.": lambda n, shares: (
                2 * chance_distance(n, shares)
            ),
            "that is the standard deviation of each share. Its mean absolute deviation is smaller, "
            "by a factor that the text names.": lambda n, shares: (
                np.sqrt(np.pi / 2) * chance_distance(n, shares)
            ),
            "that is for counts. A share is a count divided by n.": lambda n, shares: (
                n * chance_distance(n, shares)
            ),
            "p (1 - p) / n is a variance. Take the root of it.": lambda n, shares: (
                np.sqrt(2 / np.pi) * (shares * (1 - shares) / n).sum() / 2
            ),
        },
    ),
    "07-4": Function(
        after_local_steps,
        _draw_steps,
        mistakes={
            "that is the distance to c. Where is the client then?": lambda w, a, c, eta, tau: (
                (1 - eta * a) ** tau * (w - c)
            ),
            "that is what one step does.": lambda w, a, c, eta, tau: after_local_steps(
                w, a, c, eta, 1
            ),
            "each step multiplies the distance, so the effects do not add up.": (
                lambda w, a, c, eta, tau: w - tau * eta * a * (w - c)
            ),
            "that is how far the client moved, its delta. Where is it then?": (
                lambda w, a, c, eta, tau: after_local_steps(w, a, c, eta, tau) - w
            ),
        },
    ),
    "07-5": Function(
        ifca_server,
        _draw_round,
        mistakes={
            "the deltas go into the model that is best for all clients together. Each client "
            "chooses for itself.": _all_into_the_best,
            "the deltas are divided by the number of all clients, not of those who chose the "
            "model.": _divided_by_all,
            "the deltas of the clients who chose a model are added up. Take their mean.": _summed,
            "the models are replaced by mean deltas. Add the mean to the model.": (
                lambda models, losses, deltas: np.where(
                    np.isin(np.arange(len(models)), losses.argmin(axis=1))[:, None],
                    ifca_server(models, losses, deltas) - models,
                    models,
                )
            ),
            "each client has chosen the model with its largest loss.": (
                lambda models, losses, deltas: ifca_server(models, -losses, deltas)
            ),
        },
    ),
    "07-6": Function(
        recall,
        _draw_answers,
        mistakes={
            "that is the number of correct answers. Divide it by the number of the digit's "
            "images.": lambda answers, labels: np.bincount(labels[answers == labels], minlength=10),
            "that divides by the number of all images, not by the digit's own.": (
                lambda answers, labels: (
                    np.bincount(labels[answers == labels], minlength=10) / len(labels)
                )
            ),
            "that divides by how often the model answered the digit. Divide by how often it was "
            "written.": lambda answers, labels: (
                np.bincount(labels[answers == labels], minlength=10)
                / np.maximum(np.bincount(answers, minlength=10), 1)
            ),
        },
    ),
}
