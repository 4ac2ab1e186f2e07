"""Every engine with checkpoints of real size on one GPU, in nine minutes: `python -m bench.gpu`.

Weights are random and made on the machine, so that nothing is downloaded; docs/gpu.md says how a run is made on a bare
machine. `--tiny` runs the same parts on a CPU with tiny checkpoints.
"""
