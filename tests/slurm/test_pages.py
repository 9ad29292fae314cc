"""The pages of the executors for Slurm run as printed."""

import support
from pages import DOCS, run


def test_the_page_of_the_job_executor(job, tmp_path):
    run(DOCS / "executors" / "slurm_job.md", tmp_path)


def test_the_page_of_the_cluster_executor(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    run(DOCS / "executors" / "slurm_cluster.md", tmp_path)
