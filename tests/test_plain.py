"""Two tiny clients and exact numbers; then what clients and servers may be given."""

import numpy as np
import pytest
import tensorflow as tf

from fedbook import algorithms, models
from fedbook.algorithms import ClientUpdate


def halves(weights, images, labels):
    """A loss whose gradient is w minus the batch's mean label: easy to follow in the head."""
    return 0.5 * tf.square(weights[0] - tf.reduce_mean(tf.cast(labels, tf.float32)))


def batch(*labels, pixels=4):
    images = np.random.default_rng(len(labels)).uniform(0, 1, (len(labels), pixels))
    return images.astype(np.float32), np.array(labels, np.int32)


def two_layers():
    rng = np.random.default_rng(0)
    return [rng.normal(0, 1, shape).astype(np.float32) for shape in ((4, 3), (3,), (3, 2), (2,))]


ZERO = [np.float32(0)]


def test_two_clients_by_hand():
    # From 0 with rate 0.5: to mean label 4 -> 2; then to 8 -> 5. The other: to 2 -> 1.
    first = algorithms.client_update(ZERO, [batch(3, 5), batch(8)], 0.5, halves)
    second = algorithms.client_update(ZERO, [batch(2)], 0.5, halves)
    # The batch of one weighs as much as the batch of two.
    assert (first.delta, first.num_examples) == ([5.0], 3)
    assert (second.delta, second.num_examples) == ([1.0], 1)
    assert algorithms.server_aggregate(ZERO, [first, second]) == [4.0]  # (3 * 5 + 1 * 1) / 4
    assert algorithms.server_aggregate(ZERO, [first, second], uniform=True) == [3.0]
    assert algorithms.server_aggregate(ZERO, [first, second], 0.5) == [2.0]
    assert algorithms.server_aggregate([np.float32(10)], [first, second]) == [14.0]


def test_epochs_are_batches_again_and_count_again():
    once = [batch(3, 5), batch(8)]
    twice = algorithms.client_update(ZERO, once * 2, 0.5, halves)  # 5 -> 4.5 -> 6.25
    assert (twice.delta, twice.num_examples) == ([6.25], 6)


def test_logits_and_loss_of_one_layer():
    weights = [np.float32([[1, 0], [0, 2]]), np.float32([0, 1])]
    images = np.float32([[3, 1], [0, 0]])
    np.testing.assert_array_equal(models.logits(weights, images), [[3, 3], [0, 1]])
    expected = (np.log(2) + np.log(1 + np.e) - 1) / 2
    np.testing.assert_allclose(models.loss(weights, images, [0, 1]), expected, rtol=1e-6)


def test_the_2nn_is_kerass():
    model = models.keras.two_nn(seed=3)
    images = np.random.default_rng(0).uniform(0, 1, (5, 28, 28)).astype(np.float32)
    for shape in ((5, 28, 28), (5, 784)):
        np.testing.assert_allclose(
            models.logits(model.get_weights(), images.reshape(shape)), model(images), atol=1e-5
        )


def test_a_step_is_keras_sgd():
    model = models.keras.two_nn(seed=3)
    before = model.get_weights()
    images = np.random.default_rng(0).uniform(0, 1, (6, 28, 28)).astype(np.float32)
    labels = np.arange(6, dtype=np.int32)
    update = algorithms.client_update(
        before, [(images[:4], labels[:4]), (images[4:], labels[4:])], 0.1
    )
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.learning_rate = 0.1
    model.fit(images, labels, 4, shuffle=False, verbose=0)
    for after, start, delta in zip(model.get_weights(), before, update.delta, strict=True):
        np.testing.assert_allclose(after, start + delta, atol=1e-6)
    assert update.num_examples == 6


def test_one_step_of_all_clients_is_one_step_on_their_pooled_data():
    weights, clients = two_layers(), [batch(0), batch(1, 1, 0), batch(0, 1, 1, 1, 0)]
    updates = [algorithms.client_update(weights, [client], 0.3) for client in clients]
    pooled = tuple(np.concatenate(part) for part in zip(*clients))
    central = algorithms.client_update(weights, [pooled], 0.3)
    new = algorithms.server_aggregate(weights, updates)
    for got, start, delta in zip(new, weights, central.delta, strict=True):
        np.testing.assert_allclose(got, start + delta, atol=1e-6)


def test_nothing_is_changed_and_the_result_is_new():
    weights = two_layers()
    kept = [w.copy() for w in weights]
    update = algorithms.client_update(weights, [batch(0, 1)], 0.1)
    delta = [d.copy() for d in update.delta]
    new = algorithms.server_aggregate(weights, [update])
    for w, k, d, e, n in zip(weights, kept, update.delta, delta, new, strict=True):
        np.testing.assert_array_equal(w, k)
        np.testing.assert_array_equal(d, e)
        assert n.dtype == d.dtype == np.float32 and n.shape == d.shape == w.shape
        assert not np.shares_memory(n, w)


def test_an_empty_client_sends_zeros_and_counts_for_nothing():
    weights = two_layers()
    for batches in ([], [batch()]):
        empty = algorithms.client_update(weights, batches, 0.1)
        assert empty.num_examples == 0
        for d, w in zip(empty.delta, weights, strict=True):
            assert not d.any() and d.shape == w.shape
    other = algorithms.client_update(weights, [batch(0, 1)], 0.1)
    for with_it, without in zip(
        algorithms.server_aggregate(weights, [empty, other]),
        algorithms.server_aggregate(weights, [other]),
    ):
        np.testing.assert_array_equal(with_it, without)
    # In the uniform mean it counts like any other.
    updates = [ClientUpdate([4.0], 2), ClientUpdate([0.0], 0)]
    assert algorithms.server_aggregate(ZERO, updates, uniform=True) == [2.0]


@pytest.mark.parametrize("uniform", [False, True])
def test_no_update_or_no_example_leaves_the_weights(uniform):
    weights = two_layers()
    empty = algorithms.client_update(weights, [], 0.1)
    for updates in ([], [empty, empty], iter([empty])):
        new = algorithms.server_aggregate(weights, updates, uniform=uniform)
        for n, w in zip(new, weights, strict=True):
            np.testing.assert_array_equal(n, w)
            assert not np.shares_memory(n, w)


def test_nan_propagates():
    weights, images = two_layers(), np.full((2, 4), np.nan, np.float32)
    bad = algorithms.client_update(weights, [(images, np.int32([0, 1]))], 0.1)
    good = algorithms.client_update(weights, [batch(0, 1)], 0.1)
    assert np.isnan(bad.delta[0]).all() and bad.num_examples == 2
    assert np.isnan(algorithms.server_aggregate(weights, [good, bad])[0]).all()


def test_batches_of_a_tf_dataset():
    images, labels = batch(0, 1, 1, 0, 1)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    arrays = [(images[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)]
    one, other = (algorithms.client_update(two_layers(), b, 0.1) for b in (dataset, arrays))
    assert one.num_examples == other.num_examples == 5
    for a, b in zip(one.delta, other.delta, strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_and_rows_of_pixels_train_alike():
    weights = [np.zeros((4, 2), np.float32), np.zeros(2, np.float32)]
    rows, labels = batch(0, 1, 1)
    results = [
        algorithms.client_update(weights, [(images, labels)] * 2, 0.1).delta
        for images in (rows.reshape(3, 2, 2), rows, rows.reshape(3, 2, 2))
    ]
    for result in results[1:]:
        for one, other in zip(results[0], result):
            np.testing.assert_array_equal(one, other)


def test_models_of_many_shapes_in_one_process():
    for pixels in (4, 9, 16, 25):
        weights = [np.zeros((pixels, 2), np.float32), np.zeros(2, np.float32)]
        for labels in ((0, 1), (0, 1, 1)):
            update = algorithms.client_update(weights, [batch(*labels, pixels=pixels)], 0.1)
            assert update.delta[0].shape == (pixels, 2)


def test_a_new_batch_size_or_rate_is_not_traced_anew():
    traces = []

    def counted(weights, images, labels):
        traces.append(images.shape)
        return models.loss(weights, images, labels)

    for n in range(2, 12):
        algorithms.client_update(two_layers(), [batch(*[0] * n)], 0.1 / n, counted)
    assert len(traces) <= 2


LAYERS = two_layers()


@pytest.mark.parametrize(
    "weights, named",
    [
        ([], "weights is a list whose entries have the dtypes"),
        (LAYERS[:3], "weights has shapes"),
        ([LAYERS[0], LAYERS[3]], "weights has shapes"),  # bias of another layer
        (LAYERS[:2] + LAYERS[:2], "weights has shapes"),  # 3 outputs, 4 inputs
    ],
)
def test_weights_that_are_no_model(weights, named):
    with pytest.raises(ValueError, match=named):
        models.logits(weights, batch(0)[0])


@pytest.mark.parametrize(
    "images, named",
    [
        (np.zeros((2, 5), np.float32), r"images has shape \(2, 5\).*4 pixels"),
        (np.zeros(4, np.float32), "images has shape"),
        (np.zeros((2, 4), np.uint8), "images has dtype uint8"),
    ],
)
def test_images_that_do_not_fit(images, named):
    with pytest.raises(ValueError, match=named):
        models.logits(LAYERS, images)


@pytest.mark.parametrize("rate", [0, -0.1, float("nan"), float("inf")])
def test_bad_rates(rate):
    with pytest.raises(ValueError, match="^learning_rate is"):
        algorithms.client_update(LAYERS, [batch(0)], rate)
    with pytest.raises(ValueError, match="^server_learning_rate is"):
        algorithms.server_aggregate(LAYERS, [], rate)


def test_bad_client_input():
    with pytest.raises(ValueError, match="^weights is empty"):
        algorithms.client_update([], [batch(0)], 0.1)
    with pytest.raises(ValueError, match=r"^weights\[0\] has dtype int64"):
        algorithms.client_update([np.zeros((4, 2), np.int64), np.zeros(2)], [batch(0)], 0.1)
    images, labels = batch(0, 1)
    with pytest.raises(ValueError, match="^batches: number 1 has 2 images and 1 labels"):
        algorithms.client_update(LAYERS, [(images, labels), (images, labels[:1])], 0.1)
    for bad in (batch(0, 2), batch(-1, 1), (images, np.uint8([1, 255]))):
        with pytest.raises(ValueError, match="^batches: number 0: labels holds .* from 0 to 1"):
            algorithms.client_update(LAYERS, [bad], 0.1)
    assert algorithms.client_update(ZERO, [batch(-1, 9)], 0.5, halves).num_examples == 2


def test_bad_updates():
    good = algorithms.client_update(LAYERS, [batch(0)], 0.1)
    with pytest.raises(ValueError, match="^weights is empty"):
        algorithms.server_aggregate([], [good])
    with pytest.raises(ValueError, match=r"^updates\[1\].delta has shapes"):
        algorithms.server_aggregate(LAYERS, [good, ClientUpdate(good.delta[:3], 1)])
    with pytest.raises(ValueError, match=r"^updates\[0\].delta has shapes"):
        # Shapes that numpy would broadcast.
        algorithms.server_aggregate(LAYERS, [ClientUpdate([d[..., :1] for d in good.delta], 1)])
    for count in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^updates\[0\].num_examples is"):
            algorithms.server_aggregate(LAYERS, [ClientUpdate(good.delta, count)])


def test_a_local_term_and_a_correction_by_hand():
    # From 2 to label 6 with rate 0.5: a step of 2, to 4. Then the gradient is -2 and the pull
    # 0.5 * (4 - 2): a step of 0.5.
    start, batches = [np.float32(2)], [batch(6), batch(6)]
    pulled = algorithms.client_update(
        start, batches, 0.5, halves, local_term=algorithms.Proximal(0.5)
    )
    assert pulled.delta == [2.5] and pulled.num_examples == 2
    # With a correction of 1 the first step is 1.5, the second 0.5 * (2.5 - 1).
    corrected = algorithms.client_update(start, batches, 0.5, halves, correction=[np.float32(1)])
    assert corrected.delta == [2.25]
    # And with both the first step is 1.5, the second 0.5 * (2.5 - 1 - 0.5 * 1.5).
    both = algorithms.client_update(
        start, batches, 0.5, halves, local_term=algorithms.Proximal(0.5), correction=[np.float32(1)]
    )
    assert both.delta == [1.5 + 0.5 * (2.5 - 1 - 0.75)]


def test_with_a_strength_of_0_it_is_fedavg_bit_for_bit():
    weights, batches = two_layers(), [(x, y % 2) for x, y in (batch(0, 1, 1), batch(1, 0))]
    plain = algorithms.client_update(weights, batches, 0.3)
    same = algorithms.client_update(weights, batches, 0.3, local_term=algorithms.Proximal(0.0))
    for a, b in zip(plain.delta, same.delta, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_correction_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match=r"correction has shapes \[\(2,\)\]; those of weights are"):
        algorithms.client_update(ZERO, [], 1.0, correction=[np.zeros(2)])
