"""What `functional.convolve` computes, faster: what is computed, in which order, and why.

ConvNorm filters a layer's full output, ``y = crop(IFFT(V * FFT(a * x)))``. Computed as written, the convolution has
stride 1 however large the layer's stride, and the FFT goes over all outputs. Instead:

1. `preconditioner` computes V from the kernels' autocorrelations in float64: (2k-1)^2 numbers per output channel, for
   any number of input channels. No kernel is padded to the grid.
2. `choice` takes a form by the device and the sizes. For 1x1 kernels V is one number per output channel: it scales the
   kernel and the layer runs as it is.
3. `channel_products` is for most layers. By the convolution theorem a convolution is one small product of channels at
   every frequency, so it computes the DFT of the image, the products with the preconditioned transfer matrices, and the
   inverse DFT at the positions that crop and stride select. A strided layer does not pay for outputs that are dropped.
4. `separable` is for few input channels, where the transforms cost more than the products. It does the same in the real
   Fourier basis: a third of the transforms' operations, 16 multiplications instead of 6 in the products.
5. `gpu` is `channel_products` in Triton, for NVIDIA's GPUs in bfloat16 and TF32.
6. `functional.convolve`, the plain form, is for all others: 1-d, 3-d, grouped layers, small batches of many channels.
7. `depthwise` is the filter that follows. oneDNN computes its gradients slowly, so it has its own.

DFTs are products with constant matrices: the grids are small (4 to 40 for images of 32 pixels) and rarely powers of
two, matrices need no complex numbers, and they yield only the outputs that are needed.

- `dft` has the matrices of one axis, `gauss` those of `channel_products`; `constants` stores them.
- `transform` multiplies by them in the memory order that suits the device.
- `preconditioner_cache` keeps V in evaluation, where weights rarely change.
- `gradients` says when plain operations replace hand-written backward passes.
- `costs` compares the forms. CPUs were measured (`benchmarks/convnorm.md`) and one GPU.

A new form is one file here, its cost in both functions of `costs`, and its name in `choice`. `conftest.py` and
`test_choice.py` in `tests/convnorm` list the forms that are tested.
"""
