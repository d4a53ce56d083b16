"""Bad input to data, partitions, models, simulation, plots and scale: refused by name.

A case is a function, one argument, and a bad value for it; all other arguments are good. The
error is a ValueError or a TypeError, and its message names the argument.
"""

import collections

import matplotlib
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

matplotlib.use("agg")
import matplotlib.pyplot as plt

from fedbook import datasets, models, partition, plots, simulation

NAN, INF = float("nan"), float("inf")
N = 40
IMAGES = np.random.default_rng(0).uniform(0, 1, (N, 28, 28)).astype(np.float32)
LABELS = np.arange(N, dtype=np.int32) % 10
SPLIT = partition.iid(LABELS, 4)
WEIGHTS = [np.zeros((784, 10), np.float32), np.zeros(10, np.float32)]
FIRST, REST = IMAGES[:4], IMAGES[1:5]
LATENT = np.zeros((4, 2), np.float32)
OUTPUTS = np.zeros((4, 10), np.float32)

# What several arguments must refuse.
NO_INT = [None, "3", 1.5, NAN, INF, True, -1, [3]]
NO_SIZE = [*NO_INT, 0]
NO_NUMBER = [None, "1", NAN, INF, True, -1.0, [1.0]]
NO_LABELS = [None, "abc", [], LABELS.astype(float), LABELS == 0, -LABELS, LABELS[None]]
NO_LABELS += [[str(label) for label in LABELS], np.full(N, 10**12), pd.Series(LABELS) / 2]
NO_IMAGES = [
    None,
    "abc",
    [],
    (IMAGES * 255).astype(np.uint8),
    IMAGES * NAN,
    IMAGES + np.float32(INF),
]
NO_IMAGES += [IMAGES.astype(str), np.float32(1)]
NO_INDICES = [None, [0, 1], {}, {"a": [-1]}, {"a": [0.5]}, {"a": [True]}, {"a": [NAN]}, {0: [1]}]
NO_INDICES += [{"a": [[0]]}, {"a": pd.Series([0])}, {"a": ["0"]}, {"a": None}, {"a": [2**63]}]
NO_BUILDER = [None, "model", 3, models.keras.softmax_regression()]
NO_AMOUNTS = [None, "abc", [], [1, -1], [NAN, 1], [INF, 1], [0, 0], [True, False], ["1"], 3]
NO_BATCH = [None, "abc", FIRST.astype(np.uint8), FIRST[:, :14], FIRST.astype(str), np.float32(1)]
NO_WEIGHTS = [None, [], WEIGHTS[:1], WEIGHTS[::-1], ["W", "b"], [WEIGHTS[0].astype(int), 1]]
NO_WEIGHTS += [[WEIGHTS[0].astype(np.float64), WEIGHTS[1]]]
NO_CLASSES = [None, "abc", LABELS[:3], LABELS[:4, None], LABELS[:4] / 2]
NO_ROW = [None, FIRST[0], FIRST[:0], FIRST.astype(str)]
NO_IDS = [None, "abc", 3, [], ["a", "a"], [1, 2], [None]]

# The function, its good arguments, and the bad values of some of them.
TABLE = [
    (
        datasets.load_digits_by_writer,
        {"source": "mnist"},
        {"source": [None, "MNIST", "", 100, ["mnist"], b"mnist"]},
    ),
    (
        datasets.client_data,
        {"images": IMAGES, "labels": LABELS, "indices": {"a": [0, 1]}},
        {"images": [*NO_IMAGES, IMAGES[:3]], "labels": NO_LABELS, "indices": NO_INDICES},
    ),
    (
        partition.Partition,
        {"indices": {"a": [0]}, "scheme": "own", "parameters": {}, "seed": 0},
        {"indices": NO_INDICES, "features": [None, [1], {"b": 1}], "concepts": [3, {"b": 1}]},
    ),
    (
        partition.iid,
        {"labels": LABELS, "num_clients": 4},
        {
            "labels": NO_LABELS,
            "num_clients": [*NO_SIZE, N + 1],
            "seed": NO_INT,
            "sizes": [[10] * 3, [11] * 4, [-10, 20, 20, 10], [2.5] * 4, "abcd", [2**62] * 4, 10],
        },
    ),
    (
        partition.quantity_log_normal,
        {"labels": LABELS, "num_clients": 4, "sigma": 1.0},
        {"sigma": [*NO_NUMBER, 101], "min_size": [*NO_INT, N]},
    ),
    (partition.shards, {"labels": LABELS, "num_clients": 4}, {"shards_per_client": [*NO_SIZE, N]}),
    (partition.classes_per_client, {"labels": LABELS, "num_clients": 10, "k": 2}, {"k": NO_SIZE}),
    (
        partition.dirichlet_per_client,
        {"labels": LABELS, "num_clients": 4, "alpha": 1.0},
        {"alpha": [*NO_NUMBER, 0.0, 1e300]},
    ),
    (
        partition.dirichlet_per_class,
        {"labels": LABELS, "num_clients": 4, "alpha": 1.0},
        {"alpha": [*NO_NUMBER, 1e-300], "max_draws": NO_SIZE},
    ),
    (
        partition.concept_skew,
        {"partition": SPLIT},
        {
            "partition": [None, "abc", LABELS],
            "num_groups": [*NO_SIZE[1:], 5],
            "num_classes": [*NO_SIZE, 10**12],
        },
    ),
    (
        partition.feature_skew,
        {"partition": SPLIT},
        {"partition": [None, {"a": [1]}], "rotation": [*NO_NUMBER, 181], "noise": [*NO_NUMBER, 11]},
    ),
    (
        partition.temporal_drift,
        {"partition": SPLIT, "labels": LABELS, "num_periods": 2},
        {
            "partition": [None],
            "labels": [*NO_LABELS, LABELS[:3]],
            "num_periods": [*NO_SIZE, 10**12],
            "strength": [*NO_NUMBER, 2],
            "shared": [None, "no", 2],
        },
    ),
    (partition.Transform, {}, {"rotation": [None, NAN, INF, 181, "90"], "seed": NO_INT}),
    (
        partition.Transform(rotation=10),
        {"images": IMAGES},
        {"images": [*NO_IMAGES, IMAGES * 255, -IMAGES, IMAGES[0]]},
    ),
    (SPLIT.label_counts, {"labels": LABELS}, {"labels": NO_LABELS, "num_classes": [0, 9, 10**12]}),
    (SPLIT.client_images, {"images": IMAGES}, {"images": [*NO_IMAGES, IMAGES[:3]]}),
    (SPLIT.client_labels, {"labels": LABELS}, {"labels": [*NO_LABELS, LABELS[:3]]}),
    (
        SPLIT.to_client_data,
        {"images": IMAGES, "labels": LABELS},
        {"images": NO_IMAGES, "labels": NO_LABELS},
    ),
    (partition.total_variation, {"p": [1, 2], "q": [2, 1]}, {"p": [*NO_AMOUNTS, [1, 2, 3]]}),
    (partition.jensen_shannon, {"p": [1, 2], "q": [2, 1]}, {"q": NO_AMOUNTS}),
    (
        partition.earth_movers,
        {"p": np.ones((3, 2)), "q": [2, 1]},
        {"q": [*NO_AMOUNTS, np.ones((2, 2))]},
    ),
    (partition.effective_classes, {"p": [1, 2]}, {"p": NO_AMOUNTS}),
    (partition.gini, {"sizes": [1, 2]}, {"sizes": [*NO_AMOUNTS, [[1, 2]]]}),
    (
        partition.skew,
        {"partition": SPLIT, "labels": LABELS},
        {"partition": [None, LABELS], "labels": NO_LABELS},
    ),
    (models.keras.two_nn, {"seed": 1}, {"seed": [*NO_INT, 2**40]}),
    (models.keras.cnn, {"seed": 1}, {"seed": [None, -1, 1.5, 2**40]}),
    (models.keras.softmax_regression, {"seed": 1}, {"seed": [None, -1, 1.5]}),
    (models.keras.encoder, {}, {"latent_dim": [*NO_SIZE, 10**12], "seed": NO_INT}),
    (models.keras.decoder, {}, {"latent_dim": [*NO_SIZE, 10**12], "seed": NO_INT}),
    (models.keras.VAE, {}, {"latent_dim": [*NO_SIZE, 10**12], "seed": NO_INT}),
    (models.keras.tff_vae, {}, {"latent_dim": [*NO_SIZE, 10**12], "seed": NO_INT}),
    (models.keras.tff_classifier, {}, {"build": NO_BUILDER}),
    (models.functional.classifier, {}, {"build": NO_BUILDER}),
    (
        models.keras.vae_losses,
        {"images": FIRST, "reconstruction": REST, "mean": LATENT, "log_var": LATENT},
        {
            "images": [None, "abc", FIRST.astype(np.uint8), FIRST[:1], FIRST[0]],
            "reconstruction": [None, REST[:1], REST[..., None]],
            "mean": [None, LATENT[:1], LATENT[:, :1], LATENT.astype(int)],
            "log_var": [None, LATENT[:1], LATENT.T],
        },
    ),
    (
        models.logits,
        {"weights": WEIGHTS, "images": FIRST},
        {"weights": NO_WEIGHTS, "images": NO_BATCH},
    ),
    (
        models.loss,
        {"weights": WEIGHTS, "images": FIRST, "labels": LABELS[:4]},
        {"weights": NO_WEIGHTS, "images": NO_BATCH, "labels": NO_CLASSES},
    ),
    (models.softmax_regression.logits, {"weights": WEIGHTS, "images": FIRST}, {"images": NO_BATCH}),
    (
        models.softmax_regression.losses,
        {"outputs": OUTPUTS, "labels": LABELS[:4]},
        {"outputs": [None, "abc", OUTPUTS.astype(int), OUTPUTS[0]], "labels": NO_CLASSES},
    ),
    (
        models.softmax_regression.num_correct,
        {"outputs": OUTPUTS, "labels": LABELS[:4]},
        {"outputs": [None, "abc", OUTPUTS.astype(int), OUTPUTS[0]], "labels": NO_CLASSES},
    ),
    (
        simulation.prepare_batches,
        {"batch_size": 2},
        {"batch_size": NO_SIZE, "epochs": NO_SIZE, "shuffle": [None, "no", 0]},
    ),
    (
        simulation.sample_clients,
        {"client_ids": ["a", "b"], "cohort": 1, "seed": 0},
        {"client_ids": NO_IDS, "cohort": [*NO_SIZE, 3], "seed": [*NO_INT, 2**32]},
    ),
    (
        plots.curves,
        {"series": {"a": pd.Series([1.0])}, "x": "x", "y": "y"},
        {"series": [None, {}, [1.0], {"a": [1.0]}, {"a": None}, {"a": pd.Series(["1"])}]},
    ),
    (
        plots.image_rows,
        {"rows": {"a": FIRST}},
        {"rows": [None, {}, FIRST, *({"a": bad} for bad in NO_ROW)]},
    ),
    (
        plots.label_counts,
        {"labels": {"a": [1, 2]}},
        {"labels": [None, {}, [1], {"a": []}, {"a": [10]}, {"a": [-1]}, {"a": [0.5]}, {"a": "1"}]},
    ),
    (
        plots.label_counts_slider,
        {"frames": np.ones((1, 2, 10), int), "notes": ["a"], "label": "more"},
        {
            "frames": [None, [], "abc", np.ones((1, 2, 9), int), np.zeros((1, 2, 10), int)],
            "notes": [[], ["a", "b"]],
        },
    ),
    (
        plots.client_sizes,
        {"sizes": [1, 2]},
        {"sizes": [None, [], "abc", [NAN], [-1], [1.5], [[1]], ["1"]]},
    ),
    (
        plots.latent_plane,
        {"points": LATENT, "labels": LABELS[:4]},
        {
            "points": [None, "abc", LATENT[:3], LATENT[0], LATENT * NAN, LATENT.T],
            "labels": [None, "abcd", LABELS[:3], LABELS[:4] + 10, -LABELS[:4], LABELS[:4] / 2],
        },
    ),
    (
        plots.decoded_grid,
        {"images": IMAGES[:4].reshape(2, 2, 28, 28), "extent": 2.0},
        {"images": [None, FIRST, FIRST[None], "abc"], "extent": [*NO_NUMBER, 0.0]},
    ),
]
CASES = [
    pytest.param(
        function,
        good,
        name,
        bad,
        id=f"{getattr(function, '__name__', 'Transform()')}-{name}-{number}",
    )
    for function, good, bad_values in TABLE
    for name, values in bad_values.items()
    for number, bad in enumerate(values)
]


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize("function, good, name, bad", CASES)
def test_is_refused_by_name(function, good, name, bad):
    with pytest.raises((ValueError, TypeError)) as caught:
        function(**{**good, name: bad})
    message = str(caught.value)
    assert name in message, message
    assert any(word in message for word in ("must", "needs", "numbered", "there are")), message


def test_the_table_is_a_table():
    assert len(CASES) >= 400


@pytest.mark.parametrize("function, good", [row[:2] for row in TABLE if row[1]])
def test_the_good_arguments_are_accepted(function, good):
    function(**good)


def pairs(clients):
    return {
        client: [
            (int(example["label"]), example["pixels"].tobytes())
            for example in clients.create_tf_dataset_for_client(client).as_numpy_iterator()
        ]
        for client in clients.client_ids
    }


@pytest.mark.parametrize(
    "images, labels",
    [
        (np.asfortranarray(IMAGES), LABELS),
        (np.repeat(IMAGES, 2, axis=0)[::2], np.repeat(LABELS, 2)[::2]),
        (IMAGES.astype(np.float64), LABELS.astype(np.uint8)),
        (IMAGES, pd.Series(LABELS, index=np.arange(N)[::-1])),
        (list(IMAGES), LABELS.tolist()),
    ],
    ids=["Fortran", "strided", "other widths", "pandas", "lists"],
)
def test_other_arrays_of_the_same_numbers_give_the_same_clients(images, labels):
    assert pairs(partition.iid(labels, 4).to_client_data(images, labels)) == pairs(
        SPLIT.to_client_data(IMAGES, LABELS)
    )


def test_the_models_refuse_a_label_that_is_no_class():
    for label in (-1, 10):
        with pytest.raises(tf.errors.InvalidArgumentError):
            models.loss(WEIGHTS, FIRST[:1], np.int32([label]))


def test_a_prepared_dataset_needs_the_two_columns():
    dataset = tf.data.Dataset.from_tensors(collections.OrderedDict(image=FIRST))
    with pytest.raises(KeyError, match="pixels"):
        simulation.prepare_batches(2)(dataset, 0)
