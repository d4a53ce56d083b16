"""Flower's FedAvg in its simulation on Ray, one actor a core: python run_flower.py CONFIG."""

import sys
import time

import flower_client
import numpy as np
import torch
from flwr.app import ArrayRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

import work


class TimedFedAvg(FedAvg):
    """FedAvg on the work's cohorts; a round is timed from its configuration to the new weights."""

    def __init__(self, config: str, task: work.Work, nodes: list[int]):
        super().__init__(fraction_evaluate=0.0)
        self._config, self._cohorts, self._nodes = config, task.cohorts, nodes
        self._start = 0.0
        self.seconds = []

    def configure_train(self, server_round, arrays, config, grid):
        self._start = time.perf_counter()
        return [
            Message(
                RecordDict(
                    {"arrays": arrays, "config": flower_client.message_config(self._config, client)}
                ),
                dst_node_id=self._nodes[client],
                message_type=MessageType.TRAIN,
            )
            for client in self._cohorts[server_round - 1].tolist()
        ]

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        good = [reply for reply in replies if not reply.has_error()]
        if len(good) != self._cohorts.shape[1]:  # Flower itself goes on without them
            errors = {reply.error.reason for reply in replies if reply.has_error()}
            raise RuntimeError(
                f"round {server_round}: {len(good)} replies of {self._cohorts.shape[1]}: {errors}"
            )
        result = super().aggregate_train(server_round, replies)
        self.seconds.append(time.perf_counter() - self._start)
        return result


def in_torch(task: work.Work, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns the work's weights, which are Keras's, as the model's state."""
    state = {}
    for (name, wanted), array in zip(model.state_dict().items(), task.weights, strict=True):
        if array.ndim == 4:  # height, width, in, out
            array = array.transpose(3, 2, 0, 1)
        elif array.shape == (3136, 512):  # Keras flattens height, width, channels
            array = array.reshape(7, 7, 64, 512).transpose(3, 2, 0, 1).reshape(512, 3136)
        elif array.ndim == 2:
            array = array.T
        state[name] = torch.from_numpy(np.ascontiguousarray(array)).reshape(wanted.shape)
    return state


def main() -> None:
    config = sys.argv[1]
    task = work.load(config)
    model = flower_client.build(task.model)
    server, finished = ServerApp(), {}

    @server.main()
    def serve(grid: Grid, context) -> None:
        while len(nodes := sorted(grid.get_node_ids())) < len(task.labels):
            time.sleep(0.1)
        strategy = TimedFedAvg(config, task, nodes)
        result = strategy.start(
            grid, ArrayRecord(in_torch(task, model)), num_rounds=len(task.cohorts)
        )
        finished.update(seconds=strategy.seconds, arrays=result.arrays)

    run_simulation(
        server,
        flower_client.app,
        num_supernodes=len(task.labels),
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    model.load_state_dict(finished["arrays"].to_torch_state_dict())
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in torch.from_numpy(task.test_images).split(500)])
    work.report(task, finished["seconds"], logits, ["flwr", "ray", "torch", "numpy"])


if __name__ == "__main__":
    main()
