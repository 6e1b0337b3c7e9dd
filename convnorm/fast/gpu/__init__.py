"""ConvNorm's products of channels in Triton, for NVIDIA GPUs from compute capability 8.0.

It computes what `convnorm.fast.channel_products` computes:

1. image to points: the two-dimensional DFT of every channel, real and imaginary part at each frequency (a *point*).
   Grids of up to 20 x 20 take one product with a constant matrix, larger ones a product per axis;
2. kernels to points: the preconditioned transfer matrices;
3. products of channels at every point;
4. points to the output: the inverse DFT at the positions that crop and stride select.

That is four launches a layer, or six, and five or seven for its gradients. The full output never exists. Each frequency
is rounded relative to itself, so V amplifies no rounding errors, and bfloat16 is accurate enough, even for blurs.

- `availability` says where this form is offered, `points` has its `torch.autograd.Function`.
- `launch` launches the kernels, `tuning` has their tiles, `matrices` the constant matrices.
- `transforms`, `products` and `spectrum` (for the preconditioner) are the kernels. Only they import Triton.

Letters: B images, C channels (I inputs, O outputs), P points: frequency f of the first axis, up to N_1 / 2, and g of
the second, all N_2. Points are stored as (P, B, 2, C), transfer matrices as (P, 2, O, I).
"""
