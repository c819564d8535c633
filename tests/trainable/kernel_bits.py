"""`python -m tests.trainable.kernel_bits` prints a digest of what the kernels at hand make of the same numbers.

Kernels of another processor that print the same compute the same: to run the tests with them shows nothing more.
"""

import hashlib

import numpy as np
import torch
import torch.nn.functional as F


def kernel_bits() -> str:
    """Hex digest over the bits of a tail's operations: products, convolution, attention, GELU, norm, softmax, sums."""
    generator = torch.Generator().manual_seed(0)
    x, weight, image, patches = (
        torch.rand(shape, generator=generator) - 0.5 for shape in ((68, 128), (512, 128), (2, 3, 32, 32), (16, 3, 8, 8))
    )
    heads = x.view(4, 17, 4, 32).transpose(1, 2)
    results = (
        F.linear(x, weight),
        F.conv2d(image, patches, stride=8),
        heads @ heads.mT,
        F.scaled_dot_product_attention(heads, heads, heads),
        F.gelu(x),
        F.layer_norm(x, (128,)),
        x.softmax(-1),
        x.sum(0),
        torch.from_numpy(x.numpy() @ weight.numpy().T),
    )
    digest = hashlib.sha256()
    for result in results:
        digest.update(np.ascontiguousarray(result.numpy()).data)
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    print(kernel_bits())
