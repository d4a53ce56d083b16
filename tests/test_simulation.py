"""Sampling, history, TensorBoard, checkpoints: with two tiny clients and exact numbers."""

import asyncio
import collections
import dataclasses
import json
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fedbook import datasets, models, simulation
from fedbook.simulation import checkpoints, history, identity, training

SIZES = {"a": 3, "b": 5, "c": 2, "d": 4}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = sum(SIZES.values())
    bounds = np.cumsum([0, *SIZES.values()])
    return datasets.client_data(
        rng.uniform(0, 1, (n, 28, 28)).astype(np.float32),
        rng.integers(0, 10, n).astype(np.int32),
        {client: range(bounds[i], bounds[i + 1]) for i, client in enumerate(SIZES)},
    )


def build_process(client_rate=0.1, server_rate=0.01, aggregator=None):
    return tff.learning.algorithms.build_weighted_fed_avg(
        models.keras.tff_classifier(models.keras.softmax_regression),
        tff.learning.optimizers.build_sgdm(client_rate, momentum=0.5),
        tff.learning.optimizers.build_adam(server_rate),  # the server has a state to lose
        model_aggregator=aggregator,
    )


@pytest.fixture(scope="module")
def process():
    return build_process()


def weights_of(process, state):
    return [np.asarray(w) for w in process.get_model_weights(state).trainable]


PREPARE = simulation.prepare_batches(2, epochs=2)


class TestSampling:
    clients = [f"c{i}" for i in range(10)]

    def test_without_replacement_and_from_the_seed(self):
        sample = simulation.sample_clients(self.clients, 4, seed=1)
        again = simulation.sample_clients(self.clients, 4, seed=1)
        other = simulation.sample_clients(self.clients, 4, seed=2)
        rounds = [sample(r) for r in range(20)]
        assert all(len(set(r)) == 4 and set(r) <= set(self.clients) for r in rounds)
        assert rounds == [again(r) for r in range(20)]
        assert rounds != [other(r) for r in range(20)]
        assert rounds[0] != rounds[1]

    def test_uniform(self):
        sample = simulation.sample_clients(self.clients, 3, seed=0)
        rounds = 4000
        counts = collections.Counter(c for r in range(rounds) for c in sample(r))
        # Binomial with p = 0.3; six standard deviations, ten clients: 2e-8.
        expected, spread = 0.3 * rounds, np.sqrt(0.3 * 0.7 * rounds)
        assert all(abs(counts[c] - expected) < 6 * spread for c in self.clients)

    @pytest.mark.parametrize("cohort", [0, -1, 11])
    def test_cohort_out_of_range(self, cohort):
        with pytest.raises(
            ValueError, match=f"cohort is {cohort}; it must be an int, from 1 to 10"
        ):
            simulation.sample_clients(self.clients, cohort, seed=0)

    def test_duplicates(self):
        with pytest.raises(ValueError, match="duplicates"):
            simulation.sample_clients(["a", "a"], 1, seed=0)


class TestPrepareBatches:
    def dataset(self):
        return tf.data.Dataset.from_tensor_slices(
            collections.OrderedDict(
                label=np.arange(5, dtype=np.int32), pixels=np.zeros((5, 28, 28), np.float32)
            )
        )

    def labels(self, dataset):
        return [batch[1].tolist() for batch in dataset.as_numpy_iterator()]

    def test_batches_with_a_partial_last_one(self):
        assert self.labels(simulation.prepare_batches(2, shuffle=False)(self.dataset(), 0)) == [
            [0, 1],
            [2, 3],
            [4],
        ]

    def test_the_spec_is_the_models(self):
        assert PREPARE(self.dataset(), 0).element_spec == models.BATCH_SPEC

    def test_every_epoch_has_each_example_once_in_another_order(self):
        # B = 5: an epoch is a batch.
        epochs = self.labels(simulation.prepare_batches(5, epochs=4)(self.dataset(), 7))
        assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1

    def test_the_seed_fixes_the_order(self):
        prepare = simulation.prepare_batches(5, epochs=4)
        assert self.labels(prepare(self.dataset(), 7)) == self.labels(prepare(self.dataset(), 7))
        assert self.labels(prepare(self.dataset(), 7)) != self.labels(prepare(self.dataset(), 8))

    @pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"batch_size": 1, "epochs": 0}])
    def test_out_of_range(self, arguments):
        name, value = list(arguments.items())[-1]
        with pytest.raises(ValueError, match=f"{name} is {value}; it must be an int, at least 1"):
            simulation.prepare_batches(**arguments)


class TestRun:
    def test_is_tffs_process_on_the_sampled_clients(self, process, data):
        run = simulation.run_training(
            process, data, rounds=2, cohort=4, prepare=simulation.prepare_batches(10, shuffle=False)
        )
        state = process.initialize()
        sample = simulation.sample_clients(data.client_ids, 4, 0)
        for r in (1, 2):
            clients = [
                simulation.prepare_batches(10, shuffle=False)(
                    data.create_tf_dataset_for_client(c), 0
                )
                for c in sample(r)
            ]
            state = process.next(state, clients).state
        for ours, tffs in zip(
            weights_of(process, run.state), weights_of(process, state), strict=True
        ):
            np.testing.assert_array_equal(ours, tffs)

    def test_history(self, process, data):
        calls = []

        def evaluate(state):
            calls.append(state)
            return {"accuracy": len(calls) / 10}

        run = simulation.run_training(
            process, data, rounds=5, cohort=2, prepare=PREPARE, evaluate=evaluate, evaluate_every=2
        )
        table = run.history
        assert table.index.tolist() == list(range(6)) and table.index.name == "round"
        assert table["test/accuracy"].dropna().to_dict() == {0: 0.1, 2: 0.2, 4: 0.3}
        assert table["train/loss"].notna().tolist() == [False] + [True] * 5
        assert table.loc[1:, "seconds"].gt(0).all()
        assert {"train/accuracy", "train/num_examples"} <= set(table.columns)

    def test_clients_can_be_restricted(self, process, data):
        run = simulation.run_training(
            process,
            data,
            rounds=3,
            cohort=1,
            prepare=simulation.prepare_batches(10),
            client_ids=["c"],
        )
        assert run.history["train/num_examples"].dropna().tolist() == [SIZES["c"]] * 3

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"rounds": 0}, "rounds is 0"),
            ({"rounds": -3}, "rounds is -3"),
            ({"cohort": 5}, "cohort is 5; it must be an int, from 1 to 4"),
            ({"cohort": 0}, "cohort is 0"),
            ({"evaluate_every": 0}, "evaluate_every is 0"),
            ({"checkpoint_every": 0}, "checkpoint_every is 0"),
            ({"client_ids": ["a", "x", "y"]}, "client_ids holds 2 ids that are not in data: x, y"),
            ({"client_ids": ["a", "a"]}, "duplicates"),
            ({"seed": -1}, "seed is -1; it must be an int, from 0"),  # it shuffled as 1 does
        ],
    )
    def test_bad_arguments_raise_before_any_work(self, process, data, tmp_path, arguments, message):
        folder = tmp_path / "checkpoints"
        good = {
            "rounds": 1,
            "cohort": 1,
            "prepare": PREPARE,
            "checkpoint_dir": folder,
            "log_dir": folder,
        }
        with pytest.raises(ValueError, match=message):
            simulation.run_training(process, data, **(good | arguments))
        assert not folder.exists()

    def test_tensorboard_has_two_runs_with_the_same_tags(self, process, data, tmp_path):
        simulation.run_training(
            process,
            data,
            rounds=3,
            cohort=2,
            prepare=PREPARE,
            log_dir=tmp_path,
            evaluate=lambda state: {"loss": 0.25},
            evaluate_every=3,
        )

        def events(run):
            (path,) = (tmp_path / run).glob("events*")
            return [
                (value.tag, event.step, float(tf.make_ndarray(value.tensor)))
                for event in tf.compat.v1.train.summary_iterator(str(path))
                for value in event.summary.value
            ]

        assert [(tag, step) for tag, step, _ in events("train") if tag == "loss"] == [
            ("loss", r) for r in (1, 2, 3)
        ]
        assert events("test") == [("loss", 0, 0.25), ("loss", 3, 0.25)]

    def test_the_bar_shows_the_metric_and_ends_clean(self, process, data, capsys):
        def slow(dataset, seed):
            time.sleep(0.15)  # tqdm draws the bar every 0.1 s
            return PREPARE(dataset, seed)

        simulation.run_training(
            process, data, rounds=2, cohort=1, prepare=slow, progress="train/loss"
        )
        out, err = capsys.readouterr()
        assert "train/loss=" in out and out.rstrip(" ").endswith("\r") and err == ""


@pytest.fixture(scope="module")
def finished(process, data, tmp_path_factory):
    """A folder with the checkpoints of rounds 1 and 2."""
    folder = tmp_path_factory.mktemp("finished")
    arguments = TestCheckpoints.arguments | {"checkpoint_dir": folder}
    simulation.run_training(process, data, rounds=2, **arguments)
    return folder


class TestCheckpoints:
    arguments = {"cohort": 2, "prepare": PREPARE, "seed": 3}

    def uninterrupted(self, process, data):
        return simulation.run_training(
            process, data, rounds=6, evaluate=self.evaluate, **self.arguments
        )

    @staticmethod
    def evaluate(state):
        return {
            "norm": float(sum(np.square(w).sum() for w in state.global_model_weights.trainable))
        }

    @pytest.mark.parametrize("every", [1, 2])
    def test_an_interrupted_run_ends_with_the_same_state_bit_for_bit(
        self, process, data, tmp_path, every
    ):
        whole = self.uninterrupted(process, data)
        calls = []

        def interrupt(state):
            calls.append(state)
            if len(calls) == 1 + 5:  # in round 5, before its checkpoint
                raise KeyboardInterrupt
            return self.evaluate(state)

        checkpointed = self.arguments | {
            "checkpoint_dir": tmp_path,
            "checkpoint_every": every,
            "evaluate": self.evaluate,
        }
        changed = checkpointed | {"evaluate": interrupt}
        with pytest.raises(KeyboardInterrupt):
            simulation.run_training(process, data, rounds=6, **changed)
        resumed = simulation.run_training(process, data, rounds=6, **checkpointed)
        for one, other in zip(
            tf.nest.flatten(whole.state), tf.nest.flatten(resumed.state), strict=True
        ):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
            assert np.asarray(one).dtype == np.asarray(other).dtype
        columns = [c for c in whole.history.columns if c != "seconds"]
        assert whole.history[columns].equals(resumed.history[columns])

    def test_more_rounds_go_on_from_a_finished_run(self, process, data, tmp_path):
        simulation.run_training(process, data, rounds=4, checkpoint_dir=tmp_path, **self.arguments)
        calls = []
        resumed = simulation.run_training(
            process,
            data,
            rounds=6,
            checkpoint_dir=tmp_path,
            evaluate=lambda state: calls.append(state) or {},
            **self.arguments,
        )
        assert len(calls) == 2  # two rounds
        for one, other in zip(
            weights_of(process, self.uninterrupted(process, data).state),
            weights_of(process, resumed.state),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize(
        "change, message",
        [
            ({"seed": 4}, "its seed is 3, not 4"),
            ({"cohort": 1}, "its cohort is 2, not 1"),
            ({"client_ids": ["a", "b"]}, "its clients is 4, not 2"),
        ],
    )
    def test_a_folder_of_another_run_is_refused(self, process, data, tmp_path, change, message):
        simulation.run_training(process, data, rounds=1, checkpoint_dir=tmp_path, **self.arguments)
        with pytest.raises(ValueError, match=f"belongs to another run.*{message}"):
            simulation.run_training(
                process, data, rounds=1, checkpoint_dir=tmp_path, **(self.arguments | change)
            )

    def test_fewer_rounds_than_the_checkpoint_has(self, process, data, tmp_path):
        simulation.run_training(process, data, rounds=2, checkpoint_dir=tmp_path, **self.arguments)
        arguments = self.arguments | {"checkpoint_dir": tmp_path}
        with pytest.raises(ValueError, match="rounds is 1; the checkpoint is already at round 2"):
            simulation.run_training(process, data, rounds=1, **arguments)

    @pytest.fixture
    def folder(self, finished, tmp_path):
        return shutil.copytree(finished, tmp_path / "checkpoints")

    def resume(self, folder, process, data, rounds=2, **changes):
        arguments = self.arguments | {"checkpoint_dir": folder} | changes
        return simulation.run_training(process, data, rounds=rounds, **arguments)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"client_rate": 0.2},
            {"server_rate": 0.02},
            {"client_rate": 0.01, "server_rate": 0.1},  # the other way round
            {"aggregator": tff.learning.robust_aggregator()},
        ],
        ids=["client rate", "server rate", "rates swapped", "aggregator"],
    )
    def test_another_process_is_refused(self, folder, data, arguments):
        with pytest.raises(ValueError, match="belongs to another run: its process is another"):
            self.resume(folder, build_process(**arguments), data)

    def test_the_same_process_built_again_is_the_same(self, folder, data):
        assert self.resume(folder, build_process(), data).history.index.tolist() == [1, 2]

    @pytest.mark.parametrize(
        "prepare",
        [
            simulation.prepare_batches(3, epochs=2),
            simulation.prepare_batches(2, epochs=3),
            simulation.prepare_batches(2, epochs=2, shuffle=False),
        ],
        ids=repr,
    )
    def test_data_that_are_prepared_otherwise_are_refused(self, folder, process, data, prepare):
        with pytest.raises(ValueError, match="another run: its prepare is .*not .*batch_size="):
            self.resume(folder, process, data, prepare=prepare)

    def test_other_examples_of_the_same_clients_are_refused(self, folder, process):
        other = datasets.client_data(
            np.zeros((4, 28, 28), np.float32),
            np.arange(4, dtype=np.int32),
            {client: [i] for i, client in enumerate(SIZES)},
        )
        with pytest.raises(ValueError, match="another run: its data of the first client is anoth"):
            self.resume(folder, process, other)

    def test_another_global_seed_of_tensorflow_is_refused(self, folder, process, data):
        tf.random.set_seed(5)
        try:
            with pytest.raises(ValueError, match="its tf.random.set_seed is 87654321, not 5"):
                self.resume(folder, process, data)
        finally:
            tf.random.set_seed(87654321)  # TensorFlow's default

    def test_a_prepare_without_a_name_is_refused_and_a_dataclass_accepted(
        self, process, data, tmp_path
    ):
        @dataclasses.dataclass
        class Own:
            size: int

            def __call__(self, dataset, seed):
                return PREPARE(dataset, seed)

        with pytest.raises(TypeError, match="prepare is a function, whose settings cannot be"):
            self.resume(tmp_path, process, data, prepare=lambda d, s: PREPARE(d, s))
        assert not list(tmp_path.iterdir())
        assert "prepare" in identity.identity_of(process, data, Own(2), ["a"], 1, 0)

    def test_a_checkpoint_of_an_earlier_version_is_refused(self, folder, process, data):
        found = json.loads((folder / "run.json").read_text())
        del found["process"], found["prepare"]
        (folder / "run.json").write_text(json.dumps(found))
        with pytest.raises(
            ValueError, match=f"{folder}.* by an earlier version of fedbook.*delete"
        ):
            self.resume(folder, process, data)

    @pytest.mark.parametrize("content, word", [('{"cohort": 2, "se', "damaged"), (None, "missing")])
    def test_a_damaged_run_json_is_named(self, folder, process, data, content, word):
        (folder / "run.json").unlink()
        if content:
            (folder / "run.json").write_text(content)
        with pytest.raises(ValueError, match=f"{folder}/run.json is {word}.*delete this one"):
            self.resume(folder, process, data)

    def test_a_damaged_run_json_without_checkpoints_is_written_anew(self, tmp_path):
        (tmp_path / "run.json").write_text('{"cohort": 2, "se')
        checkpoints.Checkpoints(tmp_path, 1, {"process": "p"}, None)
        assert json.loads((tmp_path / "run.json").read_text()) == {"process": "p"}

    def test_a_full_disk_leaves_no_run_json(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(history.os, "fsync", full)
        with pytest.raises(OSError, match=f"checkpoint_dir '{tmp_path}' cannot be used.*No space"):
            checkpoints.Checkpoints(tmp_path, 1, {"process": "p"}, None)
        assert not (tmp_path / "run.json").exists()

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="file' cannot be used.*must be a folder"):
            checkpoints.Checkpoints(tmp_path / "file", 1, {"process": "p"}, None)

    def test_what_a_kill_left_behind_is_cleared(self, folder, process, data):
        (folder / "round_3_temp1234" / "variables").mkdir(parents=True)
        self.resume(folder, process, data)
        assert sorted(path.name for path in folder.iterdir()) == [
            "history.jsonl",
            "round_1",
            "round_2",
            "run.json",
        ]

    @pytest.mark.parametrize("damage", ["truncated", "without its graph"])
    def test_the_older_checkpoint_is_used_if_the_newest_is_damaged(
        self, folder, process, data, damage
    ):
        if damage == "truncated":
            (values,) = (folder / "round_2" / "variables").glob("*.data-*")
            values.write_bytes(values.read_bytes()[:1000])
        else:
            (folder / "round_2" / "saved_model.pb").unlink()
        with pytest.warns(UserWarning, match="round_2 is damaged.*renamed to damaged_round_2"):
            resumed = self.resume(folder, process, data)
        whole = simulation.run_training(process, data, rounds=2, **self.arguments)
        for one, other in zip(
            weights_of(process, whole.state), weights_of(process, resumed.state), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        assert resumed.history.index.tolist() == [1, 2]

    def test_without_its_history_a_run_goes_on(self, folder, process, data):
        (folder / "history.jsonl").write_text("[1, {")
        with pytest.warns(UserWarning, match="history.jsonl is damaged or missing"):
            resumed = self.resume(folder, process, data, rounds=3)
        assert resumed.history.index.tolist() == [3]

    def test_a_checkpoint_that_cannot_be_written(self, folder, process, data, monkeypatch):
        def full(*_, **__):
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

        monkeypatch.setattr(tf.saved_model, "save", full)
        with pytest.raises(OSError, match=f"round 3 could not be written.*{folder}.*Make room"):
            self.resume(folder, process, data, rounds=3)

    def test_the_history_of_a_matrix_metric_survives(self, tmp_path):
        # As a custom process may report: a confusion matrix beside a scalar.
        columns = history.columns(
            collections.OrderedDict(confusion=np.eye(2, dtype=np.int64), loss=np.float32(0.1))
        )
        assert json.loads(json.dumps(columns)) == {
            "confusion": [[1, 0], [0, 1]],
            "loss": float(np.float32(0.1)),
        }


class TestEventLoop:
    def train(self, process, data):
        return simulation.run_training(process, data, rounds=1, cohort=2, prepare=PREPARE)

    def test_the_loop_of_the_caller_is_there_afterwards(self, process, data):
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            self.train(process, data)
            assert asyncio.get_event_loop() is loop
            assert loop.run_until_complete(asyncio.sleep(0, "it runs")) == "it runs"
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def test_it_is_there_after_a_failure_too_and_a_caller_may_have_none(self):
        def fail():
            with training.event_loop():
                assert asyncio.get_event_loop() is not loop
                raise OSError("deliberate")

        loop = asyncio.new_event_loop()
        for before in (loop, None):
            asyncio.set_event_loop(before)
            with pytest.raises(OSError, match="deliberate"):
                fail()
            if before is None:
                with pytest.raises(RuntimeError, match="no current event loop"):
                    asyncio.get_event_loop()
            else:
                assert asyncio.get_event_loop() is loop
        loop.close()

    def test_a_running_loop_is_refused_with_the_way_out(self, process, data):
        async def notebook():
            self.train(process, data)

        with pytest.raises(RuntimeError, match="run_training was called while.*nest_asyncio.apply"):
            asyncio.run(notebook())
