"""Feature skew: clients that hold the same classes and see them differently."""

import dataclasses

import numpy as np
import scipy.ndimage

from fedbook.partition.base import Partition, check_int, check_number


@dataclasses.dataclass(frozen=True)
class Transform:
    """How one client sees its images; a function of them.

    Rotation, stroke, contrast and noise follow each other in this order. A step
    at its neutral value, which is the default, leaves the images as they are. The
    noise depends on `seed` and on the number of images and their order.

    Attributes:
      rotation: degrees, counter-clockwise, -180 to 180; interpolated linearly,
        corners filled with 0.
      stroke: about how many pixels wider strokes become, -1 (thinner) to 1: a mix
        of the image with its grey dilation, or erosion, over 2 by 2 pixels.
      contrast: a factor from 0 to 10 on the distance of a pixel from 0.5; 1 is
        neutral, below 1 paper and ink grow grey.
      noise: the standard deviation of Gaussian noise added to each pixel, 0 to 10.
      seed: of the noise, an int from 0.

    Raises:
      ValueError: if an attribute is out of its range.
    """

    rotation: float = 0.0
    stroke: float = 0.0
    contrast: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        check_number("rotation", self.rotation, -180, 180)
        check_number("stroke", self.stroke, -1, 1)
        check_number("contrast", self.contrast, 0, 10)
        check_number("noise", self.noise, 0, 10)
        check_int("seed", self.seed, 0)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the images as the client sees them.

        Args:
          images: [n, 28, 28] float32 in [0, 1], 1 is ink; not changed.

        Returns:
          A new array of the same shape and dtype, in [0, 1].

        Raises:
          ValueError: if `images` has another rank, or holds no floats.
        """
        images = np.asarray(images)
        if images.ndim != 3 or images.dtype.kind != "f":
            raise ValueError(
                f"images has shape {images.shape} and dtype {images.dtype}; "
                "it must be [n, 28, 28] floats from 0 to 1."
            )
        seen = images.copy()
        if not len(images):
            return seen
        if self.rotation:
            seen = scipy.ndimage.rotate(seen, self.rotation, axes=(1, 2), reshape=False, order=1)
        if self.stroke:
            change = scipy.ndimage.grey_dilation if self.stroke > 0 else scipy.ndimage.grey_erosion
            seen += np.float32(abs(self.stroke)) * (change(seen, size=(1, 2, 2)) - seen)
        if self.contrast != 1:
            seen = np.float32(0.5) + np.float32(self.contrast) * (seen - np.float32(0.5))
        if self.noise:
            rng = np.random.default_rng(self.seed)
            seen += np.float32(self.noise) * rng.standard_normal(seen.shape, np.float32)
        return np.clip(seen, 0, 1).astype(images.dtype, copy=False)


def feature_skew(
    partition: Partition,
    *,
    rotation: float = 0.0,
    stroke: float = 0.0,
    contrast: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Partition:
    """Gives each client a :class:`Transform` of its own; who holds what stays.

    Each argument is how far clients may go; with all at 0 they see what is there.
    ``split.features[client](images)`` shows other images, test images say, as that
    client sees them. Noise that differs between clients: Li et al. 2021
    (NIID-Bench, arXiv 2102.02079); rotation: Ghosh et al. 2020 (IFCA,
    arXiv 2006.04088), section 6.

    Args:
      partition: of any scheme, without feature skew.
      rotation: degrees; a client's is uniform from -rotation to rotation; 0 to 180.
      stroke: pixels; a client's is uniform from -stroke to stroke; 0 to 1.
      contrast: a client's factor is uniform from 1 - contrast to 1 + contrast; 0
        to 1.
      noise: a client's standard deviation is uniform from 0 to noise; 0 to 10.
      seed: an int from 0.

    Returns:
      The partition with `features`.

    Raises:
      ValueError: if an argument is out of its range, or `partition` has features.
    """
    if partition.features:
        raise ValueError(f"partition has features already ({partition.scheme}); it must have none.")
    check_number("rotation", rotation, 0, 180)
    check_number("stroke", stroke, 0, 1)
    check_number("contrast", contrast, 0, 1)
    check_number("noise", noise, 0, 10)
    check_int("seed", seed, 0)
    # Another stream than that of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 1])
    draws = rng.uniform(-1, 1, (len(partition), 4))
    seeds = rng.integers(2**31, size=len(partition))
    features = {
        client: Transform(
            rotation * float(r), stroke * float(s), 1 + contrast * float(c),
            noise * (1 + float(n)) / 2, int(own),
        )
        for client, (r, s, c, n), own in zip(partition.client_ids, draws, seeds)
    }
    return dataclasses.replace(
        partition,
        features=features,
        scheme=f"{partition.scheme} + feature_skew",
        parameters={
            **partition.parameters, "rotation": rotation, "stroke": stroke, "contrast": contrast,
            "noise": noise, "feature_seed": int(seed),
        },
    )
