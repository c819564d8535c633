"""Commands run elsewhere: the parts of Ray jobs and of Slurm jobs."""
