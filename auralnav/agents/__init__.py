"""What learns: training, run folders, checkpoints, baselines and evaluation."""
