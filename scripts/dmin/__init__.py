"""Which training images shaped a generated image: data attribution for diffusion models."""

import os

# OpenMP reads this once, when PyTorch is first imported. Threads that spin while they wait for each other cost up to
# eight times the CPU time where more of them run than there are cores: other jobs, other users, a busy virtual machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
