"""The client of run_flower.py: a module that Flower's actors import, so that they keep its data."""

import functools

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

import work

app = ClientApp()


def build(model: str) -> nn.Module:
    """Returns the model: [b, 28, 28] -> logits [b, 10]."""
    if model == "two_nn":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 200),
            nn.ReLU(),
            nn.Linear(200, 200),
            nn.ReLU(),
            nn.Linear(200, 10),
        )
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        nn.Conv2d(1, 32, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )


@functools.cache
def client_side(config: str):
    """Returns what an actor keeps: the work, all clients' tensors and a model."""
    torch.set_num_threads(1)  # there is an actor for every core
    task = work.load(config)
    labels = torch.from_numpy(task.labels).long()
    return task, torch.from_numpy(task.images), labels, build(task.model)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Trains on the data of the client that the message names."""
    config = message.content["config"]
    task, images, labels, model = client_side(config["work"])
    x, y = images[config["client"]], labels[config["client"]]
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), task.learning_rate)
    for batch_x, batch_y in zip(x.split(task.batch_size), y.split(task.batch_size)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch_x), batch_y).backward()
        optimizer.step()
    return Message(
        RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(y)}),
            }
        ),
        reply_to=message,
    )


def message_config(config: str, client: int) -> ConfigRecord:
    """Returns what tells :func:`train` whose data to train on."""
    return ConfigRecord({"work": config, "client": client})
