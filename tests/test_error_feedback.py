"""What was sent and what is remembered add up to the updates, by hand and in Federated Core."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbook import algorithms, compression
from fedbook.algorithms.tff.local_training import train_model
from fedbook.compression import (
    QSGD,
    Deflated,
    Dense,
    MajorityVote,
    RandomK,
    Rotated,
    Sign,
    TopK,
    UniformQuantizer,
)

SHAPES = [(3,), ()]


class Mean(tff.learning.models.VariableModel):
    """A vector and a scalar; the loss is |w - x|^2 / 2 + (b - 1)^2 / 2, averaged over examples."""

    def __init__(self):
        self._weights = [tf.Variable(tf.zeros(shape)) for shape in SHAPES]

    trainable_variables = property(lambda self: self._weights)
    non_trainable_variables = property(lambda self: [])
    local_variables = property(lambda self: [])
    input_spec = property(lambda self: tf.TensorSpec([None, 3], tf.float32))

    def predict_on_batch(self, x, training=True):
        return self._weights[0] - x

    def forward_pass(self, batch_input, training=True):
        errors = self.predict_on_batch(batch_input)
        each = tf.reduce_sum(tf.square(errors), axis=1) + tf.square(self._weights[1] - 1)
        return tff.learning.models.BatchOutput(
            loss=tf.reduce_mean(each) / 2, predictions=errors, num_examples=tf.shape(errors)[0]
        )

    def report_local_unfinalized_metrics(self):
        return collections.OrderedDict()

    def metric_finalizers(self):
        return collections.OrderedDict()

    def reset_metrics(self):
        pass


# Each client's batches: 1 example, 3 examples in 2 batches, none.
CLIENTS = {
    "one": [np.float32([[4, -2, 1]])],
    "three": [np.float32([[0, 8, 1], [2, 6, -1]]), np.float32([[1, 1, -3]])],
    "none": [],
}


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


class TestByHand:
    def test_two_rounds_of_top_1(self):
        codec, memory = TopK(count=1), algorithms.zero_memory([(2,)])
        update = [np.float32([3, 2])]
        message, memory = algorithms.encode_with_memory(codec, update, memory, 0)
        np.testing.assert_array_equal(codec.decode(message)[0], [3, 0])
        np.testing.assert_array_equal(memory[0], [0, 2])
        kept = memory
        message, memory = algorithms.encode_with_memory(codec, [np.float32([1, 2])], memory, 0)
        np.testing.assert_array_equal(codec.decode(message)[0], [0, 4])
        np.testing.assert_array_equal(memory[0], [1, 0])
        np.testing.assert_array_equal(kept[0], [0, 2])  # no argument is changed
        np.testing.assert_array_equal(update[0], [3, 2])

    @pytest.mark.parametrize(
        "codec",
        [
            Dense(),
            TopK(0.1),
            TopK(count=1, per="tensor"),
            RandomK(0.2, rescale=False),
            UniformQuantizer(2),
            QSGD(20),
            Sign(),
            Rotated(Sign(), block=8),
            Deflated(TopK(0.1)),
        ],
        ids=repr,
    )
    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 99),
        rounds=st.integers(1, 8),
        sizes=st.lists(st.integers(1, 300), min_size=1, max_size=3),
    )
    def test_sent_and_memory_add_up(self, codec, seed, rounds, sizes):
        rng = np.random.default_rng(seed)
        memory = algorithms.zero_memory([(n,) for n in sizes])
        sent, wanted = np.zeros(sum(sizes)), np.zeros(sum(sizes))
        for number in range(rounds):
            update = [rng.normal(size=n).astype(np.float32) for n in sizes]
            message, memory = algorithms.encode_with_memory(codec, update, memory, (seed, number))
            sent += flat(codec.decode(message))
            wanted += flat(update)
        scale = max(1, np.abs(sent).max())
        np.testing.assert_allclose(sent + flat(memory), wanted, atol=1e-5 * scale)

    def test_everything_is_sent_in_time(self):
        """Top-1 of 10 elements: without a memory nine of them would never be sent."""
        update, codec = [np.linspace(1, 2, 10, dtype=np.float32)], TopK(count=1)
        memory, sent = algorithms.zero_memory([(10,)]), 0
        for _ in range(200):
            message, memory = algorithms.encode_with_memory(codec, update, memory, 0)
            sent = sent + codec.decode(message)[0]
        np.testing.assert_allclose(sent / 200, update[0], rtol=0.1)
        assert np.abs(memory[0]).max() < 20

    def test_the_factor_of_random_k_makes_the_memory_grow(self):
        norms = {}
        for rescale in (False, True):
            codec, memory = RandomK(0.1, rescale=rescale), algorithms.zero_memory([(50,)])
            for number in range(100):
                _, memory = algorithms.encode_with_memory(
                    codec, [np.ones(50, np.float32)], memory, (1, number)
                )
            norms[rescale] = np.linalg.norm(memory[0])
        assert norms[False] < 200 and norms[True] > 1e6

    @pytest.mark.parametrize(
        "update, memory, message",
        [
            ([np.ones(2)], [np.ones(3)], r"memory has shapes \[\(3,\)\]; .* update are \[\(2,\)\]"),
            ([np.ones(2)], [], r"memory has shapes \[\]"),
            ([np.ones(2) * np.nan], [np.ones(2)], r"update\[0\] has 2 elements that are NaN"),
            ([], [], "update is empty"),
        ],
    )
    def test_impossible_request(self, update, memory, message):
        with pytest.raises(ValueError, match=message):
            algorithms.encode_with_memory(Sign(), update, memory, 0)


class TestFederatedCore:
    RATE = 0.5

    def build(self, codec, **arguments):
        return algorithms.tff.build_error_feedback(Mean, codec, self.RATE, **arguments)

    def delta(self, weights, batches):
        spec = tf.TensorSpec([None, 3], tf.float32)
        dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
        start = [tf.constant(w, tf.float32) for w in weights]
        delta, _, examples, loss = train_model(Mean(), dataset, start, self.RATE)
        return [d.numpy() for d in delta], float(examples), float(loss)

    def test_dense_is_plain_federated_averaging(self):
        process, plain = self.build(Dense()), algorithms.tff.build_fed_avg(Mean, self.RATE)
        state, weights = process.initialize(), plain.initialize()
        memories = [algorithms.zero_memory(SHAPES)] * 2
        data = [CLIENTS["one"], CLIENTS["three"]]
        for _ in range(2):
            state, memories, metrics = process.next(state, data, memories)
            weights, expected = plain.next(weights, data)
            np.testing.assert_allclose(flat(state["weights"]), flat(weights), rtol=1e-6)
            assert not flat(memories[0]).any() and not flat(memories[1]).any()
            assert metrics["loss"] == expected["loss"]
            assert metrics["num_examples"] == 4

    @pytest.mark.parametrize("codec", [TopK(count=1), Sign()], ids=repr)
    def test_equals_the_functions_by_hand(self, codec):
        """Cohorts of other clients in another order: every memory finds its client."""
        process = self.build(codec, server_learning_rate=0.8)
        state = process.initialize()
        memories = {name: algorithms.zero_memory(SHAPES) for name in CLIENTS}
        weights, by_hand = algorithms.zero_memory(SHAPES), dict(memories)
        for cohort in (["one", "three"], ["three"], ["three", "none", "one"]):
            state, kept, metrics = process.next(
                state, [CLIENTS[c] for c in cohort], [memories[c] for c in cohort]
            )
            memories.update(zip(cohort, kept))
            messages, examples = [], []
            for name in cohort:
                delta, count, _ = self.delta(weights, CLIENTS[name])
                message, memory = algorithms.encode_with_memory(codec, delta, by_hand[name], 0)
                if count:  # with no example there is nothing to send
                    by_hand[name] = memory
                messages.append(message)
                examples.append(count)
            mean = compression.aggregate(codec, messages, examples)
            weights = [w + np.float32(0.8) * m for w, m in zip(weights, mean)]
            np.testing.assert_allclose(flat(state["weights"]), flat(weights), rtol=1e-5, atol=1e-6)
            for name in CLIENTS:
                np.testing.assert_allclose(flat(memories[name]), flat(by_hand[name]), atol=1e-6)
            assert metrics["uplink_bytes_per_client"] == len(messages[0])
            assert metrics["uplink_bytes"] == sum(map(len, messages))
        assert flat(memories["one"]).any() and not flat(memories["none"]).any()

    def test_no_examples_keep_the_memory(self):
        process = self.build(TopK(count=1))
        memory = [np.float32([1, 2, 3]), np.float32(4)]
        state, (kept,), metrics = process.next(process.initialize(), [[]], [memory])
        np.testing.assert_array_equal(flat(kept), flat(memory))
        assert not flat(state["weights"]).any() and metrics["loss"] == 0

    def test_same_seed_same_rounds(self):
        finals = []
        for seed in (1, 1, 2):
            process = self.build(UniformQuantizer(1), seed=seed)
            state, memories = process.initialize(), [algorithms.zero_memory(SHAPES)]
            for _ in range(2):
                state, memories, _ = process.next(state, [CLIENTS["three"]], memories)
            np.testing.assert_array_equal(state["seed"], [seed, 2])
            finals.append(flat([*state["weights"], *memories[0]]))
        np.testing.assert_array_equal(finals[0], finals[1])
        assert not np.array_equal(finals[0], finals[2])

    def test_impossible_requests(self):
        for codec in (MajorityVote(1.0), Deflated(Sign()), None):
            with pytest.raises(TypeError, match="it must be a codec whose updates TFF can average"):
                self.build(codec)
        for arguments, message in (
            ({"seed": -1}, "seed is -1"),
            ({"server_learning_rate": 0}, "server_learning_rate is 0"),
        ):
            with pytest.raises(ValueError, match=message):
                self.build(Sign(), **arguments)
        with pytest.raises(ValueError, match="count is 5, and the update has only 4 elements"):
            self.build(TopK(count=5))
