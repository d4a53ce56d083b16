"""fedjax's FedAvg, with its default backend (jax.jit): python run_fedjax.py CONFIG."""

import sys

import fedjax
import jax
import jax.numpy as jnp
import numpy as np

import work


def two_nn(weights, images):
    """[b, 28, 28] -> logits [b, 10]."""
    w1, b1, w2, b2, w3, b3 = weights
    hidden = jax.nn.relu(images.reshape(-1, 784) @ w1 + b1)
    return jax.nn.relu(hidden @ w2 + b2) @ w3 + b3


def cnn(weights, images):
    """[b, 28, 28] -> logits [b, 10]."""
    k1, c1, k2, c2, w1, b1, w2, b2 = weights
    hidden = pooled_convolution(images[..., None], k1, c1)
    hidden = pooled_convolution(hidden, k2, c2).reshape(len(images), -1)
    return jax.nn.relu(hidden @ w1 + b1) @ w2 + b2


def pooled_convolution(x, kernel, bias):
    x = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.lax.reduce_window(
        jax.nn.relu(x + bias), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )


MODELS = {"two_nn": two_nn, "cnn": cnn}


def main() -> None:
    task = work.load(sys.argv[1])
    model = MODELS[task.model]

    def loss(weights, batch, rng):
        log_p = jax.nn.log_softmax(model(weights, batch["x"]))
        return -jnp.take_along_axis(log_p, batch["y"][:, None], axis=1)[:, 0]

    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        fedjax.grad(loss),
        fedjax.optimizers.sgd(task.learning_rate),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(task.batch_size, skip_shuffle=True),
    )
    data = [fedjax.ClientDataset({"x": x, "y": y}) for x, y in zip(task.images, task.labels)]
    state = algorithm.init([jnp.asarray(array) for array in task.weights])
    rngs = jax.random.split(jax.random.PRNGKey(0), len(data))  # the model draws nothing

    def one_round(cohort):
        nonlocal state
        state, _ = algorithm.apply(
            state, [(client, data[client], rngs[client]) for client in cohort]
        )
        jax.block_until_ready(state.params)

    seconds = work.measure(task, one_round)
    predict = jax.jit(model)
    logits = [predict(state.params, part) for part in np.array_split(task.test_images, 20)]
    work.report(task, seconds, np.concatenate(logits), ["fedjax", "jax", "numpy"])


if __name__ == "__main__":
    main()
