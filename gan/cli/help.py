"""What `--help` says first. Written by hand: it appears at once, and says what people need before anything else."""

HELP = """\
Train, score and use GANs with any normalization in either network.

usage: gan COMMAND ...          (in a checkout also: python train.py COMMAND ...)

commands:
  fit       train, or go on with a run
  validate  score a checkpoint against the training images
  test      score it against the test images
  sample    images, grids, interpolations and latent walks from a checkpoint
  export    a trained generator as a file of its own: safetensors, torch, ONNX
  push      the same to the Hugging Face Hub, with a model card
  compare   runs beside each other: table, CSV, Markdown, HTML with curves and samples
  study     a grid of runs (norms x networks x seeds): plan, run, report
  score     any two sets of images: folder or zip
  data      check or convert a folder or zip of images

examples:
  gan fit --config quickstart                            three minutes on two CPU cores, no download
  gan fit --config folder --data.root photos/            your own images
  gan fit --resume runs/quickstart/version_0             go on where it stopped
  gan sample runs/quickstart/version_0 --out digits.zip --num 1000
  gan compare runs/quickstart/* --html report.html

gan COMMAND --help says more. GAN_TRACEBACK=1 shows where an error came from."""

_FIT = """\
Train a GAN, or go on with a run.

usage: gan fit --config NAME|FILE [--config ...] [--OPTION VALUE ...]
       gan fit --resume RUN [--OPTION VALUE ...]

A configuration is a shipped one by its name (quickstart, folder, cifar10/dcgan, cifar10/sngan_cnn,
cifar10/sngan_resnet, ...) or a YAML file. Several stack: later ones win. Options win over all of them.

what to train
  --experiment NAME                    runs lie in <root>/NAME/version_k
  --trainer.default_root_dir FOLDER    the root (default: runs)
  --trainer.max_steps N                generator steps
  --seed_everything N                  seed of everything random (default: 0)

going on (one of these at most)
  --resume RUN           go on in the run's folder, with its own configuration
  --ckpt_path FILE|RUN   a new version that begins with the checkpoint's whole state; `last`: --resume the newest run
  --init_from FILE|RUN   a new run at step 0 that begins with the checkpoint's weights, as far as they fit

networks and norms
  --model.generator CLASS              DCGANGenerator, SNGANCNNGenerator, SNGANResNetGenerator, or yours
  --model.discriminator CLASS          the same with Discriminator
  --model.generator_norms '[Batch]'    in order: Batch, ConditionalBatch, Conv, Spectral, Layer, Instance, Group, ...
  --model.discriminator_norms '[Conv,Spectral]'
  --model.loss CLASS                   Hinge, NonSaturating, Wasserstein, ...
  --model.penalty CLASS                R1, R2, WGANGP, LeCam, ...: a penalty, or a list of them
  --model.discriminator_steps N        updates of the discriminator a generator step
  --model.generator_optimizer.lr X     of any optimizer of torch.optim, given by its class_path
  --model.discriminator_optimizer.lr X

data
  --data CLASS                         Digits, Folder, CIFAR10, STL10, ...
  --data.root PATH                     folder or zip of images
  --data.image_size N                  height and width in pixels
  --data.batch_size N                  images of one update, all processes together

callbacks
  --callbacks.Monitor.every_n_steps N  any argument of a callback of the configuration, by the callback's name

scores
  --config metrics/inception           FID and inception score, as the papers; metrics/none: no scores
  --metrics.num_samples N              generated images an evaluation
  --metrics.every_n_steps N            generator steps between two evaluations

machine
  --trainer.devices N                  processes, a GPU each; --trainer.num_nodes N: machines
  --trainer.precision 32-true          default: bf16-mixed where the hardware has it
  --trainer.accelerator cpu            default: auto
  --threads N                          of each process; default: the cores it may use, or OMP_NUM_THREADS
  --model.micro_batches N              parts of a batch that does not fit into memory
  --model.cuda_graphs true             the kernels of an update launched at once, for GPUs: several times as fast
  --model.compile true                 torch.compile, for GPUs

  --print_config         the whole configuration as YAML, and nothing else happens
  --data.help CLASS, --model.generator.help CLASS     the options of a class
  --help all             every option there is"""

_SCORING = """\
usage: gan {command} RUN [--OPTION VALUE ...]
       gan {command} --config NAME|FILE --ckpt_path FILE|RUN|last [--OPTION VALUE ...]

The configuration of RUN comes first; --config stacks on it. The scores are printed with their protocol.

  --config metrics/inception           FID and inception score, as the papers
  --ckpt_path FILE|RUN|last            what is scored: a checkpoint, or the newest of a run or of the last run
  --metrics.num_samples N              generated images
  --metrics.images FOLDER|ZIP          score these images instead; no checkpoint is needed
  --metrics.split NAME                 the split of the data to compare with, in validate
  --data.root PATH                     where the real images are now, if they moved
  --trainer.devices N                  processes, a GPU each

  --help all             every option there is"""

SHORT_HELP = {
    "fit": _FIT,
    "validate": "Score a checkpoint against the training images.\n\n" + _SCORING.format(command="validate"),
    "test": "Score a checkpoint against the test images.\n\n" + _SCORING.format(command="test"),
}
