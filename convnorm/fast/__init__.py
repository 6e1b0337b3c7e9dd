"""What `functional.normalized_convolution` computes, faster. This page says what, in which order, and why.

`choice.convolve` is the one place that chooses the form, by device type and sizes:

1. `preconditioner`: V from the kernels' autocorrelations, (2k-1)^2 numbers per output channel, in float64.
2. Kernels of one tap have a flat V: it scales the kernels, and the layer runs as it is.
3. `channel_products`: most layers. DFT of the image, products of channels at every frequency with the preconditioned
   kernels, inverse DFT to the kept outputs only. A strided layer then does not pay for outputs that it drops.
4. `separable`: few input channels. The same in a real basis, with cheaper transforms and dearer products.
5. `functional.convolve`, the plain form: everything else (1-d and 3-d, groups, small batches of many channels).
6. `depthwise`: the affine filter that follows, with gradients that oneDNN computes slowly.

Shared: `gauss` and `dft` make the constant matrices, `cache` keeps them, `transform` multiplies by them in the memory
order that suits the device, `gradients` says when plain operations are wanted instead of a backward pass by hand.
A new form is one file here and one entry in `choice`.
"""
