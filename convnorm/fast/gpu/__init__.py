"""ConvNorm's products of channels in Triton, for NVIDIA GPUs from compute capability 8.0.

It computes what `convnorm.fast.channel_products` computes, in four launches a layer and five for its gradients:

1. image to points: the two-dimensional DFT of every channel, real and imaginary part at each frequency (a *point*);
2. kernels to points: the preconditioned transfer matrices;
3. products of channels at every point;
4. points to the output: the inverse DFT at the positions that crop and stride select.

The full output never exists. Each frequency is rounded relative to itself, so V amplifies no rounding errors, and
bfloat16 is accurate enough, even for blurs.

- `points` has the `torch.autograd.Function` and says where it is offered.
- `matrices` makes the constant matrices, `tuning` the tiles of each kernel, `launch` launches the kernels.
- `transforms` and `products` are the kernels. Only they and `launch` import Triton.

Letters: B images, C channels (I inputs, O outputs), P points: frequency f of the first axis, up to N_1 / 2, and g of
the second, all N_2. Points are stored as (P, B, 2, C), transfer matrices as (P, 2, O, I).
"""
