"""Feature skew: clients whose images of the same class look different."""

import dataclasses

import numpy as np
import scipy.ndimage

from fedbook.checks import check_int, check_number, check_type
from fedbook.data.partition.base import Partition, add_skew


@dataclasses.dataclass(frozen=True)
class Transform:
    """A function from images to the images as one client sees them.

    It applies rotation, stroke, contrast and noise in this order. The default of each leaves
    the images unchanged. The noise depends on `seed` and on the number and order of images.

    Attributes:
      rotation: degrees counter-clockwise, from -180 to 180, with linear interpolation. The
        corners are filled with 0.
      stroke: about the number of pixels by which strokes become wider, from -1 (thinner) to
        1. The image is mixed with its grey dilation, or erosion, over 2 by 2 pixels.
      contrast: the factor on a pixel's distance from 0.5, from 0 to 10.
      noise: the standard deviation of Gaussian noise on each pixel, from 0 to 10.
      seed: the seed of the noise, an int from 0.

    Raises:
      ValueError: if an attribute is out of its range.
    """

    rotation: float = 0.0
    stroke: float = 0.0
    contrast: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        check_number("rotation", self.rotation, low=-180, high=180)
        check_number("stroke", self.stroke, low=-1, high=1)
        check_number("contrast", self.contrast, low=0, high=10)
        check_number("noise", self.noise, low=0, high=10)
        check_int("seed", self.seed, 0)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the images as the client sees them, a new array of the same shape and dtype.

        Raises:
          ValueError: unless `images` is [n, 28, 28] floats, from 0 (paper) to 1 (ink).
        """
        images = np.asarray(images)
        if images.ndim != 3 or images.dtype.kind != "f":
            raise ValueError(
                f"images has shape {images.shape} and dtype {images.dtype}; "
                "it must be [n, 28, 28] floats from 0 to 1."
            )
        if images.size and not (images.min() >= 0 and images.max() <= 1):  # NaN is neither
            raise ValueError(
                f"images holds {images.min()} to {images.max()}; pixels must be from 0 to 1."
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
    """Returns the partition with `features`: a :class:`Transform` of its own for each client.

    Each argument says how strong the transform of a client may be; 0 means no change. Noise
    that differs between clients is used by Li et al. 2021 (NIID-Bench, arXiv 2102.02079),
    rotation by Ghosh et al. 2020 (IFCA, arXiv 2006.04088), section 6. To see other images,
    such as test images, as a client does, call ``split.features[client](images)``.

    Args:
      partition: of any scheme, without feature skew.
      rotation: degrees, 0 to 180; a client's is uniform from -rotation to rotation.
      stroke: pixels, 0 to 1; a client's is uniform from -stroke to stroke.
      contrast: 0 to 1; a client's is uniform from 1 - contrast to 1 + contrast.
      noise: 0 to 10; a client's is uniform from 0 to noise.
    """
    check_type("partition", partition, Partition)
    if partition.features:
        raise ValueError(f"partition has features already ({partition.scheme}); it must have none.")
    check_number("rotation", rotation, low=0, high=180)
    check_number("stroke", stroke, low=0, high=1)
    check_number("contrast", contrast, low=0, high=1)
    check_number("noise", noise, low=0, high=10)
    check_int("seed", seed, 0)
    # The 1 makes this stream independent of the scheme, which may have the same seed.
    rng = np.random.default_rng([seed, 1])
    draws = rng.uniform(-1, 1, (len(partition), 4)).tolist()
    seeds = rng.integers(2**31, size=len(partition)).tolist()
    features = {
        client: Transform(rotation * r, stroke * s, 1 + contrast * c, noise * (1 + n) / 2, own)
        for client, (r, s, c, n), own in zip(partition.client_ids, draws, seeds)
    }
    parameters = {"rotation": rotation, "stroke": stroke, "contrast": contrast, "noise": noise}
    parameters["feature_seed"] = int(seed)
    return add_skew(partition, "feature_skew", parameters, features=features)
