"""What each job does, top to bottom. ``genrm-rl`` and the files of ``jobs/`` call these functions, and a loop those of
its bootstraps and alignments. They live in the package because an installed ``genrm-rl`` has no ``jobs/``."""
